"""Where pipelining is off, as it is by default, a module has ssh's terminal under stock: so it has here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit import modules
from kit.plays import Play
from kit.processes import end
from kit.runner import MODES, Controller, Mode, Run
from kit.running import end_all, ended
from kit.sshd import Sshd

NO_PIPELINING = {"ANSIBLE_PIPELINING": "false", "TERM": "vt220"}
HOSTS = "plain,root,sudo,sudo_password"
TASKS = """\
- {name: there is one, command: tty, register: tty}
- {name: it is ssh's, debug: {msg: "{{ tty.stdout is match('/dev/pts/') }}"}}
- {name: for input only, shell: "for fd in 0 1 2; do test -t $fd; echo $?; done"}
- {name: of the session, shell: ": < /dev/tty && ps -o tpgid= -p $$ | grep -qx ' *[1-9][0-9]*'"}
- {name: its type, shell: "echo $TERM; test -z \\"$SSH_TTY\\"; echo $?; stty -a | head -n 1"}
- {name: a type of its own, command: printenv TERM, environment: {TERM: dumb}}
- {name: words for it, shell: "echo seen > /dev/tty; echo done"}
- {name: many words for it, shell: "seq 1 50000 > /dev/tty; echo done"}
- {name: words beside much output, shell: "echo seen > /dev/tty; seq 1 100000; echo seen > /dev/tty"}
- {name: for whoever the login is, shell: 'test -n "$SSH_TTY"; echo $?', become: true}
- {name: a shell of its own, command: bash -ic 'echo $-; echo there >&2'}
- {name: nobody types, command: timeout 1 cat, failed_when: false}
- {name: with input, command: cat, args: {stdin: told}}
- {name: a terminal of its own, command: script -qec 'tty; test -t 0 && test -t 1' /dev/null, register: own}
- {name: fails, command: "false", ignore_errors: true}
- {name: no command, command: /no/such/command, ignore_errors: true}
- name: facts
  setup: {gather_subset: [min]}
  # What sudo was told to run has a file's name where a module comes as a file.
  when: "'sudo' not in inventory_hostname"
- {name: a file, copy: {content: x, dest: "{{ work }}/{{ inventory_hostname }}"}}
"""
# Each tells its number once what stands before it has taken effect.
LEAVES = """\
- hosts: plain,root,sudo
  gather_facts: false
  tasks:
    - shell: |
        mkfifo {{ told }}
        {{ item }} sh -c 'echo $$ > {{ told }}; exec sleep 300' > /dev/null 2>&1 &
        cat {{ told }}
      vars: {told: "{{ work }}/{{ inventory_hostname }}{{ item }}"}
      loop: ["", nohup, setsid]
      register: left
    - {leaves: {}, register: module}
    - {name: left, debug: {msg: "{{ [module.pid] + left.results | map(attribute='stdout') | list }}"}}
"""
# A module that lets nobody wait for what it starts.
LEAVES_BY_ITSELF = """
import signal, subprocess
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({})
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
left = subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
module.exit_json(pid=left.pid)
"""


@pytest.mark.parametrize("more", [{"ANSIBLE_STRATEGY": "free"}, {"TERM": ""}], ids=str)
def test_modules_have_the_terminal_that_stock_gives_them(play: Play, more: dict[str, str]) -> None:
    play.variables = {**NO_PIPELINING, **more}
    play.deadline_seconds = 400
    run = play.compare(HOSTS, TASKS)
    assert _answers(run, "there is one", "rc") == [0] * 4
    assert _answers(run, "for input only", "stdout_lines") == [["0", "1", "1"]] * 4


@pytest.mark.parametrize(
    "variables",
    [{"ANSIBLE_PIPELINING": "true"}, {**NO_PIPELINING, "ANSIBLE_SSH_USETTY": "false"}],
    ids=["pipelined", "no"],
)
def test_modules_have_none_where_stock_gives_them_none(play: Play, variables: dict[str, str]) -> None:
    play.variables = variables
    tasks = (
        "- {name: tty, command: tty, failed_when: false}\n- {name: words, shell: ': > /dev/tty', failed_when: false}"
    )
    assert _answers(play.compare("plain,sudo", tasks), "tty", "stdout") == ["not a tty"] * 2


@pytest.mark.parametrize("mode", MODES)
def test_what_a_module_leaves_behind_lives_on(venv: Path, sshd: Sshd, open_folder: Path, mode: Mode) -> None:
    """Under stock what has not left ssh's terminal itself may end with it."""
    playbook = open_folder / "play.yml"
    playbook.write_text(LEAVES)
    modules.install(open_folder, "leaves", LEAVES_BY_ITSELF)
    with Controller(venv, mode, sshd, open_folder / "run", environment=NO_PIPELINING) as controller:
        run = controller.run(playbook)
        left = [[int(pid) for pid in told] for told in _answers(run, "left", "msg")]
        try:
            assert len(left) == 3, run.stdout + run.stderr
            assert mode == "stock" or end_all(controller) >= 3
            assert not any(ended(pid, 0) for pids in left for pid in pids[2 * (mode == "stock") :])
        finally:
            for pids in left:
                for pid in pids:
                    end(pid)


def _answers(run: Run, task: str, key: str) -> list[Any]:
    return [event.result[key] for event in run.events if event.task == task]
