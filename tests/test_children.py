"""The child that an agent keeps ready: one, replaced when it is lost, gone with the agent."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from kit import modules, processes
from kit.runner import Controller
from kit.running import END_SECONDS, ended
from kit.sshd import Sshd

PLAY = "[{hosts: plain, gather_facts: false, tasks: [{ping: }, {command: hostname}, {ping: }]}]"


def test_ready_child_is_one_is_replaced_and_goes_with_its_agent(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    playbook.write_text(PLAY)
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:

        def run() -> tuple[int, set[int]]:
            """Run the play and return the agent and its children: the guardian and the one that is ready."""
            result = controller.run(playbook)
            assert result.rc == 0, result.stdout + result.stderr
            (agent,) = controller.status()["links"][0]["agents"]
            return agent["pid"], set(processes.children(agent["pid"]))

        agent, first = run()
        assert len(first) == 2
        _, second = run()
        (guardian,) = first & second
        (ready,) = second - {guardian}
        os.kill(ready, signal.SIGKILL)
        same_agent, third = run()
        assert same_agent == agent and len(third) == 2 and guardian in third and ready not in third
        os.kill(agent, signal.SIGKILL)
        assert all(ended(pid, END_SECONDS) for pid in third)


def test_what_a_module_holds_is_free_when_its_answer_is_there(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """The answer does not wait for the end of the module's process."""
    modules.install(open_folder, "locker", modules.LOCKER)
    playbook = open_folder / "play.yml"
    task = f"{{locker: {{path: {open_folder}/run/work/lock}}, loop: [1, 2, 3, 4, 5, 6]}}"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{task}]}}]")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = controller.run(playbook, deadline_seconds=60)
        assert controller.status()["tickets"] == 6
    assert run.rc == 0, run.stdout + run.stderr
