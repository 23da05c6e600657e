"""The folder on a target that keeps what was sent, for who asks for it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.accounts import ALICE
from kit.interpreters import interpreters
from kit.relay import Relay
from kit.runner import Controller
from kit.sshd import Sshd
from kit.versions import core

# The agent, and what a login takes; a closure has 60,000 bytes and more.
WITHOUT_CLOSURE = 24_500
# Python 3.8 is the first whose code can be kept.
TASKS = "{command: hostname}, {stat: {path: /}}"


@pytest.fixture
def cold(venv: Path, sshd: Sshd, open_folder: Path) -> Iterator[Callable[..., int]]:
    """Return a function that runs tasks with a new daemon and returns the bytes that went up."""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller, Relay(sshd.port) as relay:
        relay.make_known(open_folder / "run" / "known_hosts")

        def run(cache: str, host: str = "plain", **variables: str) -> int:
            before = relay.counts.up
            playbook = open_folder / "play.yml"
            playbook.write_text(f"[{{hosts: {host}, gather_facts: false, tasks: [{TASKS}]}}]")
            options = {"ansible_port": str(relay.port), "ansible_slipstream_target_cache": cache, **variables}
            result = controller.run(
                playbook, *(word for key, value in options.items() for word in ("-e", f"{key}={value}"))
            )
            assert result.rc == 0, result.stdout + result.stderr
            assert controller.status()["tickets"] == 2
            controller.tool("stop")
            return relay.counts.up - before

        yield run


@pytest.fixture
def folder(open_folder: Path) -> Iterator[Path]:
    """A place in alice's home that is not there yet."""
    place = Path("~slip-alice").expanduser() / "cache-of-a-test"
    yield place
    for path in sorted(place.rglob("*")):
        path.unlink()
    if place.exists():
        place.rmdir()


@pytest.mark.parametrize("version", [version for version in ("2.7", "3.9", "3.13") if version in interpreters()])
def test_next_cold_start_sends_no_closures(
    venv: Path, cold: Callable[..., int], open_folder: Path, version: str
) -> None:
    if version == "2.7" and core(venv) > (2, 16):
        pytest.skip("this ansible-core's modules do not run there")
    folder = open_folder / "cache"
    python = {"host": "root", "ansible_python_interpreter": interpreters()[version]}
    assert cold(str(folder), **python) > WITHOUT_CLOSURE
    kept = sorted(folder.iterdir())
    assert [path.suffix for path in kept].count(".closure") == 2
    assert (".code" in {path.suffix for path in kept}) == (version != "2.7")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert cold(str(folder), **python) < WITHOUT_CLOSURE
    assert sorted(folder.iterdir()) == kept


def test_damage_is_noticed_and_made_good(cold: Callable[..., int], folder: Path) -> None:
    cold(f"~/{folder.name}")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for path, content in before.items():
        path.write_bytes(content[: len(content) // 2] + b"damage" + content[len(content) // 2 + 6 :])
    assert cold(f"~/{folder.name}") > WITHOUT_CLOSURE
    assert not any(b"damage" in path.read_bytes() for path in folder.iterdir())
    cold(f"~/{folder.name}")
    assert cold(f"~/{folder.name}") < WITHOUT_CLOSURE


@pytest.mark.parametrize("how", ["open to others", "of another account", "a link"])
def test_folder_that_others_may_write_to_is_not_used(
    cold: Callable[..., int], folder: Path, open_folder: Path, how: str
) -> None:
    place = open_folder / "place"
    place.mkdir(mode=0o777)
    if how == "open to others":
        place.chmod(0o777)
    if how == "a link":
        (open_folder / "link").symlink_to(place)
        place = open_folder / "link"
    assert cold(str(place)) > WITHOUT_CLOSURE
    assert cold(str(place)) > WITHOUT_CLOSURE
    assert not list(place.iterdir())
    assert "is not a folder of this account alone" in (open_folder / "run" / "slipstream" / "daemon.log").read_text()


def test_nothing_is_kept_unless_asked_for(cold: Callable[..., int]) -> None:
    home = Path(f"~{ALICE.name}").expanduser()
    before = set(home.rglob("*"))
    cold("")
    assert {path for path in set(home.rglob("*")) - before if ".ansible" not in path.parts} == set()
