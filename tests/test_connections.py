"""Connections that end, come back, or are many: with servers of their own, under stock and under Slipstream."""

from __future__ import annotations

import os
import socket
import textwrap
import threading
from pathlib import Path

import pytest
from kit.compare import run_differences
from kit.plays import Play
from kit.runner import MODES, Controller, Run
from kit.sshd import Sshd
from kit.versions import core

MANY = 100
HEIR = """\
from ansible.plugins.connection import ssh

DOCUMENTATION = ssh.DOCUMENTATION.replace("name: ssh", "name: over_ssh")


class Connection(ssh.Connection):
    transport = "over_ssh"
"""
BY_AN_HEIR = """\
- {name: ours, command: id -un}
- ignore_errors: true
  vars: {ansible_connection: over_ssh}
  block:
    - {name: theirs, command: id -un}
    - {name: become, command: id -un, become: true}
    - {name: copy, copy: {content: x, dest: "{{ work }}/x"}}
    - {name: fetch, fetch: {src: "{{ work }}/x", dest: "{{ work }}/fetched"}}
    - {name: raw, raw: id -un}
    - {name: setup, setup: {gather_subset: [min]}}
    - {name: job, command: id -un, async: 20, poll: 1}
- {name: ours again, command: id -un}
"""

# What ssh does with a wrong password: asks again, asks once, does not ask.
DENIED = """
    - {name: module, command: id -un}
    - {name: raw, raw: id -un, vars: {ansible_host: 127.0.0.211}}
    - name: asked once
      vars: &once
        ansible_ssh_extra_args: -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1
        ansible_host: 127.0.0.212
      command: id -un
    - {name: asked once by raw, raw: id -un, vars: {<<: *once, ansible_host: 127.0.0.213}}
    - {name: asked once for a file, copy: {content: x, dest: "{{ work }}/x"}, vars: {<<: *once}}
    - {name: right, command: id -un, vars: {ansible_password: "{{ carol_password }}", ansible_host: 127.0.0.215}}
"""


def write(folder: Path, hosts: str, tasks: str) -> Path:
    playbook = folder / "play.yml"
    header = f"- hosts: {hosts}\n  gather_facts: false\n  ignore_errors: true\n  ignore_unreachable: true\n  tasks:\n"
    playbook.write_text(header + textwrap.indent(textwrap.dedent(tasks), "    "))
    return playbook


def same(runs: list[Run]) -> None:
    """Assert that stock and Slipstream left the same."""
    assert runs[0].events, runs[0].stdout + runs[0].stderr
    assert list(map(str, run_differences(*runs))) == []


def outcomes(run: Run) -> dict[str, str]:
    return {event.task: event.kind for event in run.events if event.task}


def test_reboot(venv: Path, users: None, open_folder: Path) -> None:
    """The stand-in asks for a new sshd, which listens before the old one's sessions are cut."""
    tasks = """
    - {name: before, command: id -un}
    - name: reboot
      reboot:
        reboot_command: "{{ work }}/../../reboot"
        boot_time_command: "cat {{ work }}/../../boot"
        test_command: test -f {{ work }}/../../boot
        reboot_timeout: 60
        connect_timeout: 10
    - {name: after, command: id -un}
    - name: never comes
      reboot: {reboot_command: /bin/true, boot_time_command: echo same, reboot_timeout: 1, connect_timeout: 2}
    - {name: at last, copy: {content: x, dest: "{{ work }}/x"}}
    """
    bell, boot, command = open_folder / "bell", open_folder / "boot", open_folder / "reboot"
    os.mkfifo(bell)
    bell.chmod(0o666)
    command.write_text(f"#!/bin/sh\necho now > {bell}\nexec sleep 20\n")
    command.chmod(0o755)
    runs = []
    with Sshd() as sshd:

        def machine(wanted: int) -> None:
            boot.write_text("0")
            for number in range(1, wanted + 1):
                bell.read_text()
                boot.write_text(str(number))
                sshd.restart()

        for mode in MODES:
            rebooting = threading.Thread(target=machine, args=(1,), daemon=True)
            rebooting.start()
            with Controller(venv, mode, sshd, open_folder / "run") as controller:
                runs.append(controller.run(write(open_folder, "plain", tasks), deadline_seconds=120))
                if mode == "slipstream":
                    assert controller.status()["stock"] == {}
            rebooting.join(10)
    same(runs)
    assert outcomes(runs[0]) == {
        "before": "ok", "reboot": "ok", "after": "ok", "never comes": "failed, ignored", "at last": "ok"
    }  # fmt: skip


NEEDING_A_FOLDER = """
    - {name: copy, copy: {content: x, dest: "{{ work }}/copied"}}
    - {name: script, script: /bin/true}
    - {name: lines, lineinfile: {path: "{{ work }}/lines", line: x, create: true}}
    - {name: async, command: id -un, async: 30, poll: 1}
"""
NEEDING_NONE = """
    - {name: ping, ping: {}}
    - {name: command, shell: "echo $HOME; test -w ~ || echo closed"}
    - {name: raw, raw: id -un}
    - {name: bad argument, command: {no_such: 1}}
    - {name: fetch, fetch: {src: /etc/passwd, dest: "{{ work }}/fetched", flat: true}}
    - {name: slurp, slurp: {src: /etc/hostname}}
    - {name: facts, setup: {gather_subset: ["!all", "!min", user]}}
    - {name: become, command: id -un, become: true}
"""


def nowhere(venv: Path, folder: Path, tasks: str, *folders: str) -> list[Run]:
    """Run tasks where these folders are read-only; `work` may be one of them, too."""
    runs = []
    with Sshd(read_only=folders) as sshd:
        for mode in MODES:
            with Controller(venv, mode, sshd, folder / "run") as controller:
                runs.append(controller.run(write(folder, "plain", tasks), deadline_seconds=120))
                if mode == "slipstream":
                    assert controller.status()["tickets"] > 0
    return runs


def test_home_that_is_read_only(venv: Path, users: None, open_folder: Path) -> None:
    elsewhere = """
    - name: copy elsewhere
      copy: {content: x, dest: "{{ work }}/copied"}
      vars: {ansible_remote_tmp: "{{ work }}/tmp"}
    """
    runs = nowhere(venv, open_folder, NEEDING_NONE + NEEDING_A_FOLDER + elsewhere, "/home/slip-alice")
    same(runs)
    seen = outcomes(runs[0])
    assert (seen["ping"], seen["copy"], seen["copy elsewhere"]) == ("ok", "unreachable", "ok")


def test_no_folder_for_temporary_files(venv: Path, users: None, open_folder: Path) -> None:
    """Stock can't unpack a module there; an agent has nothing to unpack."""
    closed = ("/home/slip-alice", "/tmp", "/var/tmp", "/dev/shm")
    stock, ours = nowhere(venv, open_folder, NEEDING_NONE + NEEDING_A_FOLDER, *closed)
    assert outcomes(stock)["ping"] == "failed, ignored"
    assert "No usable temporary directory" in str([event.result for event in stock.events if event.task == "ping"])
    seen = outcomes(ours)
    assert {seen[name] for name in ("ping", "command", "raw", "fetch", "slurp", "facts", "become")} == {"ok"}
    assert {seen[name] for name in ("copy", "script", "async")} == {"unreachable"}
    assert seen["lines"] == "failed, ignored"


@pytest.mark.parametrize("module", ["command", "raw"])
def test_tasks_of_one_account_wait_for_each_other(venv: Path, sshd: Sshd, open_folder: Path, module: str) -> None:
    """Nobody gets a word before all have asked for one: one after the other they would never end."""
    # A raw command has a session or a login of its own.
    wanted = MANY if module == "command" else MANY // 4
    with socket.create_server(("127.0.0.1", 0), backlog=wanted) as server:
        port = server.getsockname()[1]

        def barrier() -> None:
            waiting = [server.accept()[0] for _ in range(wanted)]
            for one in waiting:
                one.sendall(b"all are here\n")
                one.close()

        threading.Thread(target=barrier, daemon=True).start()
        many = open_folder / "many.ini"
        names = "\n".join(f"many{n} ansible_host=127.0.0.99" for n in range(wanted))
        many.write_text(f"[remote]\n{names}\n[remote:vars]\nansible_python_interpreter=/usr/bin/python3\n")
        playbook = write(open_folder, "'many*'", f"- {module}: bash -c 'read x < /dev/tcp/127.0.0.1/{port}; echo $x'")
        with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
            sources = ["-i", str(open_folder / "run" / "inventory.json"), "-i", str(many), "--forks", str(wanted)]
            run = controller.run(playbook, *sources, deadline_seconds=120)
            links = controller.status()["links"]
    said = [event.result["stdout"].strip() for event in run.events if event.kind == "ok"]
    assert said == ["all are here"] * wanted, run.stdout
    assert len(links) == 1


def test_python_that_raw_installs_is_used_at_once(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    tasks = """
    - {name: missing, ping: {}}
    - {name: install, raw: "ln -s /usr/bin/python3 {{ ansible_python_interpreter }}"}
    - {name: there, ping: {}}
    - {name: files, copy: {content: x, dest: "{{ work }}/x"}}
    """
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        later = f"ansible_python_interpreter={controller.work}/python3"
        run = controller.run(write(open_folder, "plain,sudo", tasks), "-e", later, deadline_seconds=60)
        status = controller.status()
    assert outcomes(run)["missing"] == "failed, ignored"
    # ping, and stat and copy.
    assert status["tickets"] == 2 * 3 and status["stock"] == {"the agent was refused": 2}


def test_callbacks_of_third_parties(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """One that prints, one that keeps count: both see what they see under stock."""
    tasks = """
    - {name: works, command: echo one}
    - {name: fails, command: "false"}
    - {name: loops, debug: {msg: "{{ item }}"}, loop: [1, 2]}
    - {name: by another connection, command: echo two, connection: test.words.own}
    - {name: unreachable, command: echo never, vars: {ansible_port: 1}}
    """
    said = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            config = open_folder / "run" / "ansible.cfg"
            text = config.read_text().replace("core.accelerate", "core.accelerate, test.words.counts")
            if mode == "stock":
                text = text.replace("[ssh_connection]", "callbacks_enabled = test.words.counts\n[ssh_connection]")
            collections = Path(__file__).parent / "playbooks" / "collections"
            text = text.replace(
                "[defaults]",
                f"[defaults]\nstdout_callback = test.words.prints\ncollections_path = {collections}",
            )
            config.write_text(text)
            run = controller.run(write(open_folder, "plain", tasks), deadline_seconds=60)
            said.append(run.stdout)
    assert "counted: 5 tasks, 7 results" in said[0]
    assert said[0] == said[1]


def test_heir_of_stocks_connection(play: Play) -> None:
    play.file("connection_plugins/over_ssh.py", HEIR)
    play.compare("plain", BY_AN_HEIR)


@pytest.mark.parametrize("settings", ["", "PasswordAuthentication no\nKbdInteractiveAuthentication no"])
def test_passwords_that_sshpass_would_give(settings: str, venv: Path, users: None, open_folder: Path) -> None:
    """It has a code of its own for the second question, which stock makes a message or a result of."""
    playbook = write(open_folder, "password_wrong", DENIED)
    runs = []
    with Sshd(settings=settings) as sshd:
        for mode in MODES:
            with Controller(venv, mode, sshd, open_folder / "run") as controller:
                by_sshpass = ["-e", "ansible_ssh_password_mechanism=sshpass"]
                runs.append(controller.run_settled(playbook, *by_sshpass, deadline_seconds=120))
                assert mode == "stock" or controller.status()["pid"]
    same(runs)
    assert outcomes(runs[0])["right"] == ("unreachable" if settings else "ok")


def test_sshpass_that_is_missing(play: Play, venv: Path) -> None:
    """Stock up to 2.20 says so as it builds ssh's command, later as it starts it; Slipstream starts none."""
    tools = play.folder / "tools"
    tools.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for tool in Path(folder).glob("*"):
            if tool.name != "sshpass" and not (tools / tool.name).is_symlink():
                (tools / tool.name).symlink_to(tool)
    play.variables["PATH"] = str(tools)
    task = "- {name: login, command: id -un, vars: {ansible_ssh_password_mechanism: sshpass}}"
    if core(venv) < (2, 21):
        stock = play.compare("password", task, no_modules=True)
    else:
        stock = play.run("stock", "password", task)
        assert outcomes(play.run("slipstream", "password", task)) == {"login": "ok"}
        assert play.tickets
    assert outcomes(stock) == {"login": "failed"}, stock.stdout
    assert "install the sshpass program" in stock.stdout + stock.stderr
