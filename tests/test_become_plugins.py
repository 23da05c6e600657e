"""Become plugins of the community's collection: the same results as under stock, accelerated where that is safe.

doas, sudo and su are real; what else they call is a stand-in (`standins/privileged.py`). The collection's folder
is named by SLIPSTREAM_TEST_COLLECTIONS, sudo-rs by SLIPSTREAM_TEST_SUDO_RS.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.accounts import ALICE, BOB, CAROL
from kit.compare import run_differences
from kit.runner import MODES, Controller, Run
from kit.sshd import Sshd

STANDIN = Path(__file__).parent / "standins" / "privileged.py"
PIPED = ("dzdo", "ksu", "pbrun", "pfexec", "pmrun", "sesu")
ON_TERMINAL = ("machinectl", "run0")
PASSWORD = "open-sesame"
DOAS_RULES = f"""
permit nopass keepenv {ALICE.name} as root
permit nopass {ALICE.name} as {BOB.name}
permit {ALICE.name} as {CAROL.name}
"""
HEADER = """
- hosts: plain
  gather_facts: false
  ignore_errors: true
  become: true
  vars: {ansible_pfexec_wrap_execution: true, ansible_pbrun_wrap_execution: true}
  tasks:
"""
METHOD = """
    - name: {name}
      become_method: community.general.{name}
      become_user: {user}
      vars: {{ansible_become_exe: {folder}/open/{name}}}
      block:
        - {{name: {name}, shell: "echo $DZDO_COMMAND; id -un"}}
        - {{name: {name} again, command: id -un}}
        - {{name: {name} raw, raw: id -un}}
"""
ASKING = """
    - name: {name} asks
      become_method: community.general.{name}
      become_user: {user}
      vars: {{ansible_become_exe: {folder}/asking/{name}, ansible_become_password: {password}}}
      block:
        - {{name: {name} by password, command: id -un}}
        - {{name: {name} by password again, command: id -un}}
        - {{name: {name} by a wrong password, command: id -un, vars: {{ansible_become_password: wrong}}}}
"""
DOAS = f"""
    - name: doas
      become_method: community.general.doas
      block:
        - {{name: doas, shell: env | grep -v SSH_TTY}}
        - {{name: doas again, command: id}}
        - {{name: doas for another user, command: id, become_user: {BOB.name}}}
        - {{name: doas raw, raw: id -un}}
        - {{name: doas copies, copy: {{content: x, dest: "{{{{ work }}}}/doas"}}}}
        - name: doas by password
          command: id -un
          become_user: {CAROL.name}
          vars: {{ansible_become_password: {ALICE.password}}}
        - {{name: doas without its password, command: id -un, become_user: {CAROL.name}}}
        - {{name: doas forbidden, command: id -un, become_user: no-such-account}}
"""
NEEDS_TERMINAL = """
- hosts: on_terminal
  gather_facts: false
  tasks:
    - {name: sudo on a terminal, command: id -un}
    - {name: sudo on a terminal again, command: id -un}
    - {name: sudo on a terminal copies, copy: {content: x, dest: "{{ work }}/erin"}}
"""
SUDO_RS = f"""
- hosts: sudo,sudo_password,sudo_wrong,sudo_missing,sudo_refused
  gather_facts: false
  ignore_errors: true
  tasks:
    - {{name: command, command: id}}
    - {{name: environment, shell: env | grep -v SSH_TTY | sort}}
    - {{name: another user, command: id -un, become_user: {BOB.name}}}
    - {{name: login shell, shell: "pwd; echo $HOME", become_flags: -i}}
    - {{name: flags, command: id -un, become_flags: -n}}
    - {{name: raw, raw: id -un}}
    - {{name: copies, copy: {{content: x, dest: "{{{{ work }}}}/{{{{ inventory_hostname }}}}"}}}}
    - {{name: no such user, command: id, become_user: no-such-account}}
    - {{name: as itself, command: id -un, become: false}}
"""
SAME_USER = f"""
- hosts: plain
  gather_facts: false
  become: true
  become_user: {ALICE.name}
  tasks:
    - {{name: same, shell: "echo ${{SUDO_USER:-nobody}}"}}
    - {{name: same again, shell: "id -un; echo ${{SUDO_USER:-nobody}}"}}
    - {{name: raw, raw: "echo ${{SUDO_USER:-nobody}}"}}
    - {{name: copies, copy: {{content: x, dest: "{{{{ work }}}}/same"}}}}
    - {{name: other, shell: "id -un; echo ${{SUDO_USER:-nobody}}", become_user: root}}
    - {{name: not at all, shell: "echo ${{SUDO_USER:-nobody}}", become: false}}
"""
SUDOSU = f"""
    - {{name: sudosu, command: pwd, become_method: community.general.sudosu}}
    - {{name: sudosu again, command: id, become_method: community.general.sudosu, become_user: {BOB.name}}}
"""


@pytest.fixture
def standins(open_folder: Path) -> Path:
    """A folder with two more: in `open` the programs ask nothing, in `asking` they want a password."""
    for kind in ("open", "asking"):
        (open_folder / kind).mkdir()
        for name in (*PIPED, *ON_TERMINAL):
            shutil.copy(STANDIN, open_folder / kind / name)
    return open_folder


@pytest.fixture
def doas_rules() -> Iterator[None]:
    """Our lines in the machine's doas.conf, as long as a test takes."""
    rules = Path("/etc/doas.conf")
    with Path("/run/slipstream-test-doas.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = rules.read_text() if rules.exists() else None
        rules.write_text((before or "") + DOAS_RULES)
        yield
        if before is None:
            rules.unlink()
        else:
            rules.write_text(before)


def both(
    venv: Path, sshd: Sshd, folder: Path, plays: str, environment: dict[str, str]
) -> tuple[Run, Run, dict[str, Any]]:
    """Run `plays` under stock and under Slipstream; return both runs and the daemon's report."""
    play = folder / "play.yml"
    play.write_text(plays)
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, folder / "run", environment=environment) as controller:
            runs.append(controller.run(play, deadline_seconds=300))
            report = controller.status() if mode == "slipstream" else {}
    return runs[0], runs[1], report


def outcomes(run: Run) -> dict[str, object]:
    """Return the last word that each task printed, None if it failed."""
    return {
        event.task: (str(event.result.get("stdout", "")).split() or [""])[-1] if event.kind == "ok" else None
        for event in run.events
    }


def assert_equal(stock: Run, ours: Run) -> None:
    found = list(run_differences(stock, ours))
    if found:
        pytest.fail("\n".join(map(str, found)), pytrace=False)


def methods(names: tuple[str, ...], folder: Path) -> str:
    alone = ("pfexec", "pmrun")  # their own configuration chooses the user
    users = {name: "root" if name in alone else BOB.name for name in names}
    tasks = ""
    for name in names:
        # run0 has no way to be given a password: a rule must let its user pass.
        text = METHOD if name == "run0" else METHOD + ASKING
        tasks += text.format(name=name, user=users[name], folder=folder, password=PASSWORD)
    return tasks


def test_methods_that_can_be_piped(venv: Path, sshd: Sshd, standins: Path, collections: str) -> None:
    """Their modules run on agents, with passwords too."""
    environment = {"ANSIBLE_COLLECTIONS_PATH": collections}
    plays = HEADER + methods(PIPED, standins) + SUDOSU
    stock, ours, report = both(venv, sshd, standins, plays, environment)
    assert_equal(stock, ours)
    seen = outcomes(ours)
    for name in PIPED:
        user = "root" if name in ("pfexec", "pmrun") else BOB.name
        assert seen[name] == seen[f"{name} again"] == seen[f"{name} raw"] == user
        assert (seen[f"{name} by a wrong password"] is None) == (name != "pfexec")  # asks for none
    assert seen["sudosu"] == "/root"
    assert "the become plugin needs a terminal" not in report["stock"]
    assert report["tickets"] >= 3 * len(PIPED), report


def test_methods_that_need_a_terminal(
    venv: Path, sshd: Sshd, standins: Path, doas_rules: None, collections: str
) -> None:
    """They run as stock runs them without pipelining, which Slipstream must not switch on for them."""
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": collections,
        "ANSIBLE_PIPELINING": "false",
        # Without it ansible-core 2.20 and later do not even try.
        "ANSIBLE_SSH_EXTRA_ARGS": "-tt",
    }
    plays = HEADER + methods(ON_TERMINAL, standins) + DOAS + NEEDS_TERMINAL
    stock, ours, report = both(venv, sshd, standins, plays, environment)
    assert_equal(stock, ours)
    seen = outcomes(ours)
    for name in ON_TERMINAL:
        assert seen[name] == seen[f"{name} again"] == BOB.name
    assert seen["machinectl by password"] == BOB.name
    assert seen["doas by password"] == CAROL.name
    assert seen["sudo on a terminal"] == "root"
    # Nobody has tried an agent with these.
    untried = [reason for reason in report["stock"] if reason.startswith(("no pipelining", "the become plugin"))]
    assert sum(report["stock"][reason] for reason in untried) >= 5, report


@pytest.fixture
def sudo_rs(open_folder: Path) -> Iterator[Path]:
    """A sudo-rs with rights, and rules of its own: it does not know all that our sudoers files say."""
    program = os.environ.get("SLIPSTREAM_TEST_SUDO_RS")
    if not program:
        pytest.skip("SLIPSTREAM_TEST_SUDO_RS names no sudo-rs")
    sudo = open_folder / "sudo"
    shutil.copy(program, sudo)
    sudo.chmod(0o4755)
    rules = Path("/etc/sudoers-rs")
    rules.write_text(f"{ALICE.name} {ALICE.sudo}\n{BOB.name} {BOB.sudo}\n")
    rules.chmod(0o440)
    yield sudo
    rules.unlink()


def test_sudo_rs(venv: Path, sshd: Sshd, open_folder: Path, sudo_rs: Path) -> None:
    """Stock's plugin does not know its prompt: who needs a password waits for one until the time is over."""
    environment = {"ANSIBLE_BECOME_EXE": str(sudo_rs), "ANSIBLE_TIMEOUT": "2"}
    stock, ours, report = both(venv, sshd, open_folder, SUDO_RS, environment)
    assert_equal(stock, ours)
    told = [event.host for event in ours.events if event.kind == "ok" and event.task == "command"]
    assert "sudo" in told
    assert report["tickets"] >= 8, report


@pytest.mark.parametrize(("allowed", "told"), [("false", "nobody"), ("true", ALICE.name)])
def test_become_the_login_user(venv: Path, sshd: Sshd, open_folder: Path, allowed: str, told: str) -> None:
    """The become plugin is left out, unless become_allow_same_user says that it means something."""
    stock, ours, report = both(venv, sshd, open_folder, SAME_USER, {"ANSIBLE_BECOME_ALLOW_SAME_USER": allowed})
    assert_equal(stock, ours)
    seen = outcomes(ours)
    assert [seen[name] for name in ("same", "same again", "raw", "other", "not at all")] == [
        *[told] * 3,
        ALICE.name,
        "nobody",
    ]
    assert report["tickets"] >= 5, report
