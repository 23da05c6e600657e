"""The wheel and the source distribution, as a user gets them."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from kit import processes
from kit.runner import Controller
from kit.sshd import Sshd

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel that `./dev` has built for these tests."""
    found = sorted((ROOT / ".work" / "wheels").glob("*.whl"))
    if not found:
        pytest.skip("no wheel in .work/wheels: run by ./dev pytest")
    return found[-1]


def test_wheel_has_everything_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "cp310-abi3" in wheel.name
    for part in (
        "ansible_slipstream/_native.abi3.so",
        "ansible_slipstream/_native.pyi",
        "ansible_slipstream/py.typed",
        "ansible_slipstream/agent/loop.py",
        "ansible_slipstream-0.1.0.data/scripts/slipstreamd",
        "ansible_slipstream-0.1.0.data/purelib/ansible_collections/slipstream/core/plugins/callback/accelerate.py",
    ):
        assert part in names, part
    (galaxy,) = [name for name in names if name.endswith("/slipstream/core/galaxy.yml")]
    version = wheel.name.split("-")[1]
    assert f"version: {version}\n" in zipfile.ZipFile(wheel).read(galaxy).decode()
    assert not [name for name in names if "__pycache__" in name or "test" in name]


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What our own backend makes of this checkout."""
    backend = (
        "import sys; sys.path.insert(0, 'build_backend'); import slipstream_build;"
        "print(slipstream_build.build_sdist(sys.argv[1]))"
    )
    folder = tmp_path_factory.mktemp("sdist")
    python, environment = _builder()
    # The backend works in the checkout's build folder, which a build of the wheel fills again.
    subprocess.run([python, "-c", backend, str(folder)], cwd=ROOT, env=environment, check=True, timeout=300)
    (archive,) = folder.glob("*.tar.gz")
    return archive


def _builder() -> tuple[str, dict[str, str]]:
    """Return the Python of the environment that builds, and variables for it."""
    folder = ROOT / ".work" / "build" / "bin"
    if not (folder / "python").exists():
        pytest.skip("no build environment: run by ./dev pytest")
    return str(folder / "python"), {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_source_distribution_has_what_a_build_needs(source_distribution: Path) -> None:
    with tarfile.open(source_distribution) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    for part in (
        "Cargo.lock",
        "LICENSE",
        "ansible_plugins/callback/accelerate.py",
        "build_backend/galaxy.yml",
        "build_backend/slipstream_build.py",
        "crates/slipstream-daemon/src/main.rs",
        "crates/slipstream-python/src/lib.rs",
        "pyproject.toml",
        "python/ansible_slipstream/agent/loop.py",
    ):
        assert part in names, part


def test_source_distribution_becomes_a_wheel_that_works(
    source_distribution: Path, sshd: Sshd, open_folder: Path
) -> None:
    """In an empty virtual environment that has only ansible-core."""
    python, environment = _builder()
    # What is not ours is compiled once for all builds.
    environment["CARGO_TARGET_DIR"] = str(ROOT / "target")
    pip = ["-m", "pip", "-q", "--disable-pip-version-check"]
    build = [python, *pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(open_folder)]
    subprocess.run([*build, str(source_distribution)], env=environment, check=True, timeout=900)
    (built,) = open_folder.glob("*.whl")
    venv = open_folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    install = [str(venv / "bin" / "python"), *pip, "install", "ansible-core", str(built)]
    subprocess.run(install, check=True, timeout=300)
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: 'plain:sudo', gather_facts: false, tasks: [{ping: }]}]")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = controller.run(playbook, deadline_seconds=90)
        assert run.rc == 0, run.stdout + run.stderr
        assert controller.status()["tickets"] == 2


def test_without_the_binary_the_extension_is_the_daemon(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = venv / "bin" / "slipstreamd"
    hidden = binary.rename(binary.with_suffix(".hidden"))
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: 'plain:password', gather_facts: false, tasks: [{ping: }]}]")
    try:
        with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
            run = controller.run(playbook, deadline_seconds=90)
            assert run.rc == 0, run.stdout + run.stderr
            status = controller.status()
            command = Path(f"/proc/{status['pid']}/cmdline").read_bytes()
            assert status["tickets"] == 2
            processes.end_listeners(controller.slipstream_folder)
    finally:
        hidden.rename(binary)
    assert b"ansible_slipstream.daemon" in command
    assert sys.version_info >= (3, 10)
