"""The child that an agent keeps ready: one, replaced when it is lost, gone with the agent."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from kit import modules, processes
from kit.runner import Controller
from kit.running import END_SECONDS, ended
from kit.sshd import Sshd
from kit.versions import core

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


SPAWNS = """
import os, subprocess
from ansible.module_utils import basic
from ansible_slipstream.agent import spawning

is_new = hasattr(subprocess, "_fork_exec")
place, name = (subprocess, "_fork_exec") if is_new else (subprocess._posixsubprocess, "fork_exec")
stock, calls = getattr(place, name), []

def spy(*arguments):
    calls.append(any(map(callable, arguments)))
    return stock(*arguments)

setattr(place, name, spy)
spawning.install()
os.umask(0o022)
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = b'{"ANSIBLE_MODULE_ARGS": {}}', "legacy"
module = basic.AnsibleModule(argument_spec={})
print(calls, [module.run_command("umask", use_unsafe_shell=True, umask=mask)[1].strip() for mask in (None, 0o077)])
"""


def test_only_a_function_that_does_nothing_is_left_out(venv: Path) -> None:
    """What ``run_command`` has done before a program starts: its umask stays."""
    done = subprocess.run([venv / "bin" / "python", "-c", SPAWNS], capture_output=True, text=True, check=True)
    # 2.16 restores signals there, too.
    assert done.stdout == f"[{core(venv) < (2, 17)}, True] ['0022', '0077']\n"
