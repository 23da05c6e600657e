"""The three doors, the switch that closes them, and the check that keeps strangers out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.runner import Controller, Run
from kit.sshd import Sshd
from kit.versions import core

PLAY = """\
- hosts: pair
  gather_facts: false
  {strategy}
  tasks:
    - {{name: who, command: id -un}}
    - {{name: once, command: echo once, run_once: true}}
    - {{name: local, command: echo here, delegate_to: localhost, vars: {{ansible_connection: "{local}"}}}}
"""
# run_once counts once, but the free strategies run it on every host.
TICKETS = {"linear": 5, "free": 6, "host_pinned": 6}


@pytest.fixture
def closed(venv: Path, sshd: Sshd, open_folder: Path) -> Iterator[Controller]:
    """A controller whose ansible.cfg has no line of ours."""
    with Controller(venv, "stock", sshd, open_folder / "run") as made:
        yield made


def run(controller: Controller, folder: Path, *options: str, strategy: str = "", local: str = "local") -> Run:
    playbook = folder / "play.yml"
    playbook.write_text(PLAY.format(strategy=f"strategy: {strategy}" if strategy else "", local=local))
    done = controller.run(playbook, *options, deadline_seconds=90)
    assert done.rc == 0, done.stdout + done.stderr
    return done


def test_callback_accelerates(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        done = run(controller, open_folder)
        status = controller.status()
    assert status["tickets"] == 5 and status["stock"] == {}
    assert "WARNING" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["linear", "free", "host_pinned"])
def test_strategy_accelerates(closed: Controller, open_folder: Path, name: str) -> None:
    run(closed, open_folder, strategy=f"slipstream.core.{name}")
    assert closed.status()["tickets"] == TICKETS[name]


@pytest.mark.parametrize("name", ["linear", "free", "host_pinned"])
def test_strategy_works_from_a_strategy_path(
    closed: Controller, venv: Path, open_folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = venv.glob("lib/python*/site-packages/ansible_collections/slipstream/core/plugins/strategy")
    config = open_folder / "run" / "ansible.cfg"
    config.write_text(config.read_text().replace("[defaults]", f"[defaults]\nstrategy_plugins = {folder}"))
    run(closed, open_folder, strategy=f"slipstream_{name}")
    assert closed.status()["tickets"] == TICKETS[name]


def test_connections_accelerate_their_hosts(closed: Controller, open_folder: Path) -> None:
    inventory = open_folder / "run" / "door.json"
    inventory.write_text('{"all": {"vars": {"ansible_connection": "slipstream.core.ssh"}}}')
    both = ["-i", str(open_folder / "run" / "inventory.json"), "-i", str(inventory)]
    run(closed, open_folder, *both, local="slipstream.core.local")
    status = closed.status()
    assert status["tickets"] == 5
    assert {link["transport"] for link in status["links"]} == {"ssh", "local"}


def test_ad_hoc_is_accelerated(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        process = controller.start(Path("plain"), "-m", "ping", program="ansible")
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 0 and '"pong"' in stdout, stdout + stderr
        assert controller.status()["tickets"] == 1


@pytest.mark.parametrize("where", ["environment", "ansible.cfg"])
def test_switched_off_is_stock(
    venv: Path, sshd: Sshd, open_folder: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        if where == "environment":
            monkeypatch.setenv("SLIPSTREAM_ENABLED", "false")
        else:
            config = open_folder / "run" / "ansible.cfg"
            config.write_text(config.read_text() + "\n[slipstream]\nenabled = no ; for now\n")
        done = run(controller, open_folder, "-v")
        assert controller.status() == {"running": False, "state_dir": str(controller.slipstream_folder)}
    assert done.stdout.count("Slipstream is switched off") == 1


def test_bad_setting_is_named_and_everything_runs_stock(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        monkeypatch.setenv("SLIPSTREAM_LINGER", "soon")
        done = run(controller, open_folder)
        assert "linger is 'soon'" in controller.tool("status").stdout
        monkeypatch.delenv("SLIPSTREAM_LINGER")
        assert controller.status()["running"] is False
    assert "linger is 'soon'" in done.stderr + done.stdout


def run_on_changed_core(controller: Controller, folder: Path, when: str, change: str, door: str) -> Run:
    """Run a module through a door; a sitecustomize changes ansible-core as a release might, ``when`` we import that."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'ansible_slipstream.ansible.{when}':\n"
        "            sys.meta_path.remove(self)\n"
        f"            {change}\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    controller.variables["PYTHONPATH"] = str(site)
    words = {"strategy": "strategy: slipstream.core.linear,", "connection": "connection: slipstream.core.ssh,"}
    playbook = folder / "command.yml"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, {words.get(door, '')} tasks: [{{command: id -un}}]}}]")
    return controller.run(playbook, "-v", deadline_seconds=60)


DOORS = ["callback", "strategy", "connection"]
# Stock can do without it here.
SEAM = "from ansible.inventory.data import InventoryData; del InventoryData._create_implicit_localhost"
MOVED = {
    "seam": ("seams", SEAM, "_create_implicit_localhost has"),
    "import": ("lanes.moving", "raise ImportError('no such name in ansible')", "no such name in ansible"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("moved", MOVED)
def test_moved_seam_means_stock(venv: Path, sshd: Sshd, open_folder: Path, moved: str, door: str) -> None:
    when, change, said = MOVED[moved]
    with Controller(venv, "slipstream" if door == "callback" else "stock", sshd, open_folder / "run") as controller:
        done = run_on_changed_core(controller, open_folder, when, change, door)
        assert not list(controller.slipstream_folder.glob("*"))
    assert done.rc == 0, done.stdout + done.stderr
    assert done.stdout.count(f"does not know this ansible-core ({said}") == 1
    assert "slip-alice" in done.stdout


@pytest.mark.parametrize("door", DOORS)
def test_newer_core_that_has_all_seams_is_accelerated(venv: Path, sshd: Sshd, open_folder: Path, door: str) -> None:
    if core(venv) < (2, 21):
        pytest.skip("the next version is none of these")
    with Controller(venv, "slipstream" if door == "callback" else "stock", sshd, open_folder / "run") as controller:
        change = "import ansible.release; ansible.release.__version__ = '2.22.0b1'"
        done = run_on_changed_core(controller, open_folder, "versions", change, door)
        assert done.rc == 0 and "lipstream" not in done.stderr, done.stdout + done.stderr
        assert controller.status()["tickets"] == 1


def test_no_daemon_means_stock_with_a_warning(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        os.chmod(controller.slipstream_folder, 0o777)
        done = run(controller, open_folder)
        os.chmod(controller.slipstream_folder, 0o700)
    said = done.stdout + done.stderr
    assert said.count("Slipstream is off for this run") == 1
    assert "0700" in said


@pytest.mark.parametrize(
    ("name", "fits"), [("feature%2Fx", True), ("%h %%", True), ('a"b', False), ("${HOME}x", False)]
)
def test_state_folder_of_any_name(venv: Path, sshd: Sshd, open_folder: Path, name: str, fits: bool) -> None:
    """As in a workspace that a job has named: ssh reads more into some names than a path."""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        controller.variables["SLIPSTREAM_DIR"] = str(controller.slipstream_folder / name)
        done = run(controller, open_folder)
        assert ("Slipstream is off for this run" not in done.stdout + done.stderr) == fits
        if fits:
            assert controller.status()["tickets"] == TICKETS["linear"]
