"""What a fresh login or a fresh interpreter would notice, a running agent notices too."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import modules
from kit.accounts import ALICE
from kit.runner import Controller, Run
from kit.running import END_SECONDS, ended
from kit.sshd import Sshd

GUEST = "slip-guest"
GROUP = "slip-crew"


@pytest.fixture
def controller(venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    """A controller with a daemon of its own; what its plays make on this machine goes with it."""
    monkeypatch.setenv("SLIPSTREAM_LOG", "debug")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as made:
        yield made
    for command in (["userdel", "-rf", GUEST], ["groupdel", GROUP]):
        subprocess.run(command, capture_output=True, check=False)
    Path(f"/etc/sudoers.d/{GUEST}").unlink(missing_ok=True)


def play(controller: Controller, folder: Path, tasks: str) -> Run:
    playbook = folder / "life.yml"
    header = "- hosts: plain\n  gather_facts: false\n  tasks:\n"
    playbook.write_text(header + textwrap.indent(textwrap.dedent(tasks), "    "))
    return controller.run(playbook, deadline_seconds=120)


def result(run: Run, task: str) -> dict[str, object]:
    (event,) = [
        event for event in run.events if event.task == task and event.kind in ("ok", "failed", "failed, ignored")
    ]
    return event.result


def test_new_group_is_seen_by_the_next_become(controller: Controller, open_folder: Path) -> None:
    """L1: sudo reads groups at each start."""
    run = play(
        controller,
        open_folder,
        f"""
        - {{name: make, become: true, user: {{name: {GUEST}}}}}
        - {{name: before, become: true, become_user: {GUEST}, command: id -nG}}
        - {{name: group, become: true, group: {{name: {GROUP}}}}}
        - {{name: join, become: true, user: {{name: {GUEST}, groups: {GROUP}, append: true}}}}
        - {{name: after, become: true, become_user: {GUEST}, command: id -nG}}
        """,
    )
    assert run.rc == 0, run.stdout
    assert GROUP not in str(result(run, "before")["stdout"]).split()
    assert GROUP in str(result(run, "after")["stdout"]).split()


def test_new_sudo_rule_is_seen(controller: Controller, open_folder: Path) -> None:
    """L1: sudo reads its rules at each start, so a running agent does not keep what was taken away."""
    run = play(
        controller,
        open_folder,
        f"""
        - {{name: make, become: true, user: {{name: {GUEST}}}}}
        - {{name: before, become: true, become_user: {GUEST}, command: id -un}}
        - name: forbid
          become: true
          copy:
            content: "{ALICE.name} ALL=({GUEST}) !ALL\\n"
            dest: /etc/sudoers.d/{GUEST}
            mode: "0440"
        - {{name: after, become: true, become_user: {GUEST}, command: id -un, ignore_errors: true}}
        """,
    )
    assert result(run, "before")["stdout"] == GUEST, run.stdout
    assert result(run, "forbid")["changed"] is True, run.stdout
    assert "stdout" not in result(run, "after"), run.stdout


def test_new_password_is_noticed(controller: Controller, open_folder: Path) -> None:
    """L1: sudo and su ask at each start, so an agent that an old password has started runs nothing more."""
    run = play(
        controller,
        open_folder,
        f"""
        - {{become: true, user: {{name: {GUEST}}}}}
        - {{command: id -un}}
        - {{become: true, shell: "echo {GUEST}:Tide4.lamp | chpasswd"}}
        - {{command: id -un}}
        """,
    )
    assert run.rc == 0, run.stdout
    assert "what='/etc/shadow'" in (controller.slipstream_folder / "daemon.log").read_text()


def test_environment_file_is_read_again(controller: Controller, open_folder: Path) -> None:
    """L1: a login reads it, so the next task has what the one before it wrote."""
    bashrc = Path(f"~{ALICE.name}/.bashrc").expanduser()
    before = bashrc.read_text()
    run = play(
        controller,
        open_folder,
        """
        - {name: first, command: env}
        - lineinfile: {path: ~/.bashrc, line: export SLIP_WORD=tide, insertbefore: BOF}
        - {name: second, command: env}
        """,
    )
    bashrc.write_text(before)
    assert "SLIP_WORD=tide" not in result(run, "first")["stdout_lines"]  # type: ignore[operator]
    assert "SLIP_WORD=tide" in result(run, "second")["stdout_lines"]  # type: ignore[operator]


def test_account_can_be_removed_after_tasks_under_it(controller: Controller, open_folder: Path) -> None:
    """L2: userdel refuses while a process of the account runs."""
    run = play(
        controller,
        open_folder,
        f"""
        - {{name: make, become: true, user: {{name: {GUEST}}}}}
        - {{name: work, become: true, become_user: {GUEST}, command: id -un}}
        - {{name: remove, become: true, user: {{name: {GUEST}, state: absent, remove: true}}}}
        """,
    )
    assert run.rc == 0, run.stdout
    assert result(run, "remove")["changed"] is True


def test_account_can_be_removed_by_any_means(controller: Controller, open_folder: Path) -> None:
    """L2: by what no agent runs, and over another link to the same host."""
    script = open_folder / "remove.sh"
    script.write_text(f"#!/bin/sh\nexec userdel -r {GUEST}\n")
    means = {
        "raw": f"raw: userdel -r {GUEST}",
        "script": f"script: {script}",
        "async": f"command: userdel -r {GUEST}\n  async: 60\n  poll: 1",
        "async module": f"user: {{name: {GUEST}, state: absent, remove: true}}\n  async: 60\n  poll: 1",
        "other link": f"user: {{name: {GUEST}, state: absent, remove: true}}\n  vars: {{ansible_user: root}}",
    }
    tasks = "".join(
        f"- {{become: true, user: {{name: {GUEST}}}}}\n"
        f"- {{become: true, become_user: {GUEST}, command: id -un}}\n"
        f"- name: {name}\n  become: true\n  {task}\n"
        for name, task in means.items()
    )
    run = play(controller, open_folder, tasks)
    assert run.rc == 0, run.stdout
    assert all(result(run, name)["changed"] for name in means), run.stdout


def test_nothing_of_an_account_is_left_after_the_playbook(controller: Controller, open_folder: Path) -> None:
    """L2: who removes it then is not in the playbook. Root's agent may stay."""
    run = play(
        controller,
        open_folder,
        f"""
        - {{become: true, user: {{name: {GUEST}}}}}
        - {{become: true, become_user: {GUEST}, setup: {{}}}}
        """,
    )
    assert run.rc == 0, run.stdout
    log = (controller.slipstream_folder / "daemon.log").read_text()
    (agent,) = re.findall(rf"agent up .*agent=(\d+) .*uid={pwd.getpwnam(GUEST).pw_uid}\b", log)
    assert ended(int(agent), END_SECONDS), controller.status()


def test_working_folder_can_be_unmounted(controller: Controller, open_folder: Path) -> None:
    """L2: an agent stands in no folder but the root."""
    play(controller, open_folder, "- {name: first, command: pwd}")
    (agent,) = controller.status()["links"][0]["agents"]
    assert os.readlink(f"/proc/{agent['pid']}/cwd") == "/"
    run = play(controller, open_folder, "- {name: where, command: pwd}")
    assert result(run, "where")["stdout"] == f"/home/{ALICE.name}"


def test_new_package_of_the_interpreter_is_noticed(controller: Controller, open_folder: Path) -> None:
    """L3: the interpreter, its library and every folder on its path are compared."""
    venv = open_folder / "target-venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    own = f"vars: {{ansible_python_interpreter: {venv}/bin/python}}"
    run = play(
        controller,
        open_folder,
        f"""
        - {{name: first, ping: , {own}}}
        - {{name: same, ping: , {own}}}
        - {{name: install, become: true, copy: {{content: "word = 1\\n", dest: {site}/slip_word.py}}}}
        - {{name: second, ping: , {own}}}
        """,
    )
    assert run.rc == 0, run.stdout
    log = (controller.slipstream_folder / "daemon.log").read_text()
    assert f"what={str(site)!r}" in log
    # The interpreter's before and after, root's, and one that removes the temporary folder of the install.
    assert log.count("agent up") == 4


def test_first_package_of_the_account_is_noticed(controller: Controller, open_folder: Path) -> None:
    """L3: a folder that is on the interpreter's path only if it is there when that starts."""
    modules.install(open_folder, "own_package", modules.OWN_PACKAGE)
    run = play(
        controller,
        open_folder,
        """
        - {name: before, own_package: }
        - {name: place, command: /usr/bin/python3 -m site --user-site, register: place, failed_when: place.rc > 1}
        - {name: folder, file: {path: "{{ place.stdout }}", state: directory}}
        - {name: package, copy: {content: "word = 'had'\\n", dest: "{{ place.stdout }}/slip_word.py"}}
        - {name: after, own_package: }
        - {name: changed, copy: {content: "word = 'changed'\\n", dest: "{{ place.stdout }}/slip_word.py"}}
        - {name: then, own_package: }
        - {name: gone, file: {path: "{{ place.stdout }}", state: absent}}
        - {name: at last, own_package: }
        """,
    )
    assert run.rc == 0, run.stdout
    seen = [result(run, task)["word"] for task in ("before", "after", "then", "at last")]
    assert seen == ["none", "had", "changed", "none"]


def test_new_line_of_a_path_file_is_noticed(controller: Controller, open_folder: Path) -> None:
    """L3: its folder's time does not tell."""
    venv = open_folder / "target-venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "own.pth").write_text("# nothing\n")
    packages = open_folder / "packages"
    packages.mkdir()
    (packages / "slip_word.py").write_text("word = 'had'\n")
    modules.install(open_folder, "own_package", modules.OWN_PACKAGE)
    own = f"vars: {{ansible_python_interpreter: {venv}/bin/python}}"
    run = play(
        controller,
        open_folder,
        f"""
        - {{name: before, own_package: , {own}}}
        - {{name: line, become: true, shell: "echo {packages} >> {site}/own.pth"}}
        - {{name: after, own_package: , {own}}}
        """,
    )
    assert run.rc == 0, run.stdout
    assert [result(run, task)["word"] for task in ("before", "after")] == ["none", "had"]


def test_reset_connection_ends_every_agent(controller: Controller, open_folder: Path) -> None:
    """L4."""
    run = play(
        controller,
        open_folder,
        """
        - {name: first, command: "true"}
        - {name: root, become: true, command: "true"}
        - {meta: reset_connection}
        - {name: second, command: "true"}
        """,
    )
    assert run.rc == 0
    log = (controller.slipstream_folder / "daemon.log").read_text()
    assert log.count("agent up") == 3 and log.count("link open") == 2
