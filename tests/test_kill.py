"""Whatever is killed in the middle of a task: a clear result, nothing left, and the next run works."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.runner import Controller
from kit.running import END_SECONDS, Waiting, ended, waiting
from kit.sshd import Sshd


@pytest.fixture
def controller(venv: Path, sshd: Sshd, open_folder: Path) -> Iterator[Controller]:
    """A controller with a daemon of its own."""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as made:
        yield made


def assert_next_run_works(controller: Controller, folder: Path) -> None:
    playbook = folder / "next.yml"
    playbook.write_text("[{hosts: plain, gather_facts: false, tasks: [{name: again, command: echo fine}]}]")
    run = controller.run(playbook, deadline_seconds=60)
    assert run.rc == 0, run.stdout + run.stderr


def assert_lost(run: Waiting) -> None:
    said = run.output()
    assert run.process.returncode == 4, said
    assert "UNREACHABLE!" in said
    assert "is not run again" in said


@pytest.mark.parametrize("become", [False, True], ids=["login", "become"])
def test_killed_agent_is_a_killed_module(controller: Controller, open_folder: Path, become: bool) -> None:
    """As under stock, where the module's own interpreter would have been killed."""
    with waiting(controller, open_folder, become=become) as run:
        for agent in run.agents:
            os.kill(agent, signal.SIGKILL)
        said = run.output()
        assert run.process.returncode == 2, said
        assert '"rc": 137' in said and "FAILED!" in said and "Killed" in said
        assert run.left() == []
    assert_next_run_works(controller, open_folder)


def test_killed_ssh_is_a_lost_link(controller: Controller, open_folder: Path) -> None:
    with waiting(controller, open_folder) as run:
        os.kill(run.ssh, signal.SIGKILL)
        assert_lost(run)
        assert run.left() == []
    assert_next_run_works(controller, open_folder)


def test_link_cut_by_the_server_is_a_lost_link(controller: Controller, sshd: Sshd, open_folder: Path) -> None:
    with waiting(controller, open_folder) as run:
        sshd.cut_sessions()
        assert_lost(run)
        assert run.left() == []
    assert_next_run_works(controller, open_folder)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_daemon_is_a_lost_link(controller: Controller, open_folder: Path, how: signal.Signals) -> None:
    with waiting(controller, open_folder, become=True) as run:
        os.kill(run.daemon, how)
        assert_lost(run)
        assert run.left() == []
        assert ended(run.ssh, END_SECONDS)
    assert_next_run_works(controller, open_folder)


def test_run_goes_on_with_a_new_daemon(controller: Controller, open_folder: Path) -> None:
    """The daemon is killed between two tasks: the next task starts another, and the run leases it."""
    playbook = open_folder / "play.yml"
    kill = f"kill -9 $(cat {controller.slipstream_folder}/pid)"
    tasks = [
        "{command: 'true', become: true}",
        f"{{shell: '{kill}', delegate_to: localhost, vars: {{ansible_connection: local}}, ignore_unreachable: true}}",
        "{command: echo alive, become: true}",
    ]
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{', '.join(tasks)}]}}]")
    controller.tool("doctor")
    (controller.slipstream_folder / "pid").write_text(str(controller.status()["pid"]))
    run = controller.run(playbook, deadline_seconds=60)
    assert run.rc == 0, run.stdout + run.stderr
    # The privileged agent takes no more orders after the run, so the new daemon knew of the run.
    (link,) = [link for link in controller.status()["links"] if link["transport"] == "ssh"]
    assert all(agent["resting"] for agent in link["agents"] if agent["become"])


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_killed_module_is_a_failure(controller: Controller, open_folder: Path, shell: str) -> None:
    """As it is under stock with dash; where bash stands in its place, stock has lost the host."""
    controller.variables["ANSIBLE_EXECUTABLE"] = shell
    with waiting(controller, open_folder) as run:
        os.kill(run.module, signal.SIGKILL)
        said = run.output()
        assert run.process.returncode == 2, said
        assert "FAILED!" in said and '"rc": 137' in said and '"module_stderr": "Killed' in said
    assert_next_run_works(controller, open_folder)


@pytest.mark.parametrize("become", [False, True], ids=["login", "become"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_killed_playbook_leaves_no_module(
    controller: Controller, open_folder: Path, how: signal.Signals, become: bool
) -> None:
    with waiting(controller, open_folder, become=become) as run:
        os.kill(run.process.pid, how)
        assert ended(run.process.pid, END_SECONDS)
        assert ended(run.command, END_SECONDS) and ended(run.module, END_SECONDS)
        # Privileged agents take no orders after the playbook; the login agent lingers with its link.
        link = controller.status()["links"][0]
        assert all(agent["resting"] for agent in link["agents"] if agent["become"])
    assert_next_run_works(controller, open_folder)


@pytest.mark.parametrize("become", [False, True], ids=["login", "become"])
def test_killed_playbook_leaves_no_command_that_ignores_signals(
    controller: Controller, open_folder: Path, become: bool
) -> None:
    with waiting(controller, open_folder, become=become, deaf=True) as run:
        os.kill(run.process.pid, signal.SIGKILL)
        assert ended(run.command, END_SECONDS) and ended(run.module, END_SECONDS)
    assert_next_run_works(controller, open_folder)
