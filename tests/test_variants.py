"""The less common ways to say what parity's plays say: names of variables and methods, shells, options, callbacks."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
from kit.accounts import BOB, CAROL
from kit.compare import run_differences
from kit.masks import mask_text
from kit.plays import Play
from kit.runner import MODES, Controller
from kit.sshd import Sshd

PLAYBOOKS = Path(__file__).parent / "playbooks"
GOES_ON = "- ignore_errors: true\n  ignore_unreachable: true\n  block:\n"
BECOME = f"""\
- {{name: older, command: id -un, vars: {{ansible_become_password: null, ansible_become_pass: "{BOB.password}"}}}}
- {{name: sudo's own, command: id -un, vars: {{ansible_become_password: null, ansible_sudo_pass: "{BOB.password}"}}}}
- {{name: sudo's own wrong, command: id -un, vars: {{ansible_become_password: null, ansible_sudo_pass: wrong}}}}
- {{name: full name, command: id -un, become_method: ansible.builtin.sudo}}
- {{name: full name by variable, command: id -un, vars: {{ansible_become_method: ansible.builtin.sudo}}}}
- {{name: full name of raw, raw: id -un, become_method: ansible.builtin.sudo}}
- {{name: legacy name, command: id -un, become_method: ansible.legacy.sudo}}
- {{name: no such program, command: id -un, vars: {{ansible_become_exe: ansible.builtin.sudo}}}}
"""
LOGIN = f"""\
- name: older
  command: id -un
  vars: {{ansible_password: null, ansible_ssh_pass: {CAROL.password}, ansible_host: 127.0.0.201}}
- name: from a template
  command: id -un
  vars: {{ansible_password: null, ansible_ssh_pass: "{{{{ carol_password }}}}", ansible_host: 127.0.0.202}}
- name: ssh's own
  command: id -un
  vars: {{ansible_password: null, ansible_ssh_password: "{{{{ carol_password }}}}", ansible_host: 127.0.0.203}}
- {{name: older host, command: id -un, vars: {{ansible_ssh_host: 127.0.0.204, ansible_host: null}}}}
- {{name: keyword, command: id -un, port: 1}}
- {{name: keyword alone, command: id -un, port: "{{{{ kit_port }}}}", vars: {{ansible_port: null}}}}
- {{name: older port, command: id -un, vars: {{ansible_port: null, ansible_ssh_port: "{{{{ kit_port }}}}"}}}}
"""
RESETS = """\
- meta: reset_connection
- {name: first, command: id -un}
- meta: reset_connection
- {name: second, command: id -un}
- {name: another user, command: id -un, vars: {ansible_user: slip-carol}}
- meta: reset_connection
- {name: third, raw: id -un}
"""
BLANKS = """\
- {name: folder, file: {path: "{{ work }}/a b", state: directory}}
- {name: link, file: {src: /usr/bin/python3, dest: "{{ work }}/a b/my python", state: link}}
- {name: bare, ping: {}, vars: {ansible_python_interpreter: "{{ work }}/a b/my python"}}
- {name: quoted, ping: {}, vars: &quoted {ansible_python_interpreter: "'{{ work }}/a b/my python'"}}
- {name: copy, copy: {content: x, dest: "{{ work }}/x"}, vars: *quoted}
- {name: become, command: id -un, become: true, vars: *quoted}
"""
# Moments, durations, numbers of tasks, and names of copied content.
VARYING = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+[.:]\d+[\d.:]*|20\d\d-\d\d-\d\d\S*"
    r'|_original_basename": ?"\.[a-z0-9_]{8}(?=")'
)
SHELLS = """\
- {name: command, command: id -un}
- {name: shell, shell: "echo $0 $HOME"}
- {name: copy, copy: {content: "a 'b'", dest: "{{ work }}/x y"}}
- {name: raw, raw: echo hi}
- {name: become, command: id -un, become: true}
- {name: fetch, fetch: {src: "{{ work }}/x y", dest: "{{ work }}/fetched"}}
- {name: script, script: "{{ playbook_dir }}/script"}
- {name: job, command: id -un, async: 20, poll: 1}
"""
# Six polls, and a wrapper that looks after ten seconds whether six are over.
LATE = "- {name: late, command: sleep 6.6, async: 6, poll: 1}\n"


def going_on(tasks: str) -> str:
    """Have tasks go on whatever fails."""
    return GOES_ON + "".join(f"  {line}\n" for line in tasks.splitlines())


def test_other_names_for_become(play: Play) -> None:
    play.compare("sudo_password", going_on(BECOME))


def test_other_names_for_the_login(play: Play) -> None:
    play.compare("password", going_on(LOGIN))


@pytest.mark.parametrize("hosts", ["plain", "sudo_password", "sudo,refused,root", "no_python", "localhost"])
def test_reset_comes_first(play: Play, hosts: str) -> None:
    play.compare(hosts, RESETS, no_modules=hosts == "no_python")


def test_interpreter_with_blanks(play: Play) -> None:
    play.compare("plain", going_on(BLANKS))


@pytest.mark.parametrize(
    ("hosts", "shell"),
    [("csh", "ansible.posix.csh"), ("fish", "ansible.posix.fish"), ("plain", "ansible.posix.fish"), ("plain", "none")],
)
def test_shells_of_collections(play: Play, collections: str, hosts: str, shell: str) -> None:
    play.variables = {"ANSIBLE_COLLECTIONS_PATH": collections}
    play.file("script", "#!/bin/sh\nid -un\n")
    play.compare(hosts, going_on(SHELLS), "-e", f"ansible_shell_type={shell}", no_modules=shell == "none")


def test_job_that_ends_late(play: Play) -> None:
    """Stock's own polls leave it the time."""
    assert play.compare("plain", LATE).rc == 0


@pytest.mark.parametrize("topic", ["files", "flow", "commands", "packages_and_accounts"])
def test_check_and_diff_by_option(topic: str, venv: Path, sshd: Sshd, open_folder: Path, web_url: str) -> None:
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            options = ["--check", "--diff", "-e", f"web_url={web_url}"]
            runs.append(controller.run(PLAYBOOKS / f"{topic}.yml", *options))
    assert runs[0].events
    assert list(map(str, run_differences(*runs))) == []


@pytest.mark.parametrize(
    "callback", ["ansible.posix.json", "ansible.posix.jsonl", "ansible.posix.debug", "community.general.unixy", "tree"]
)
def test_callbacks_of_collections(callback: str, venv: Path, sshd: Sshd, open_folder: Path, collections: str) -> None:
    shown = []
    for mode in MODES:
        lines = (
            f"library = {PLAYBOOKS}/library\nmodule_utils = {PLAYBOOKS}/module_utils\n"
            f"remote_tmp = {open_folder}/run/work/tmp\nforks = 1\nstdout_callback = {callback}"
        )
        environment = {"ANSIBLE_COLLECTIONS_PATH": collections}
        with Controller(venv, mode, sshd, open_folder / "run", lines, environment) as controller:
            run = controller.run_settled(PLAYBOOKS / "shown" / "connections.yml")
            assert mode == "stock" or controller.status()["tickets"]
        text = VARYING.sub("N", mask_text(run.stdout))
        shown.append(text.splitlines())
    stock, ours = shown
    assert stock == ours, "\n".join(difflib.unified_diff(stock, ours, lineterm="", n=0))
