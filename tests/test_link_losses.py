"""Links under strain: noise, silence, passphrases, and what is lost with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from kit.accounts import CAROL
from kit.plays import Play
from kit.relay import Relay
from kit.runner import MODES, Controller
from kit.running import read_line
from kit.sshd import Sshd

PING = "[{hosts: plain, gather_facts: false, tasks: [{name: ping, ping: }]}]"
# A ProxyCommand that leaves a process behind, which has ssh's standard error.
PROXY = """\
#!/usr/bin/env python3
import os, select, socket, subprocess, sys
print(subprocess.Popen(["sleep", "300"]).pid, file=open("{helpers}", "a"))
there = socket.create_connection(sys.argv[1:])
ways = {{0: 0, there.fileno(): 1}}
while True:
    for source in select.select(list(ways), [], [])[0]:
        data = os.read(source, 65536) or sys.exit()
        os.write(ways[source] or there.fileno(), data)
"""
BANNER = "Authorized use only.\n"


def write(folder: Path, text: str) -> Path:
    playbook = folder / "play.yml"
    playbook.write_text(text)
    return playbook


@pytest.mark.parametrize("lines", [100, 5000])
def test_banner_changes_nothing(venv: Path, users: None, open_folder: Path, lines: int) -> None:
    """A long one is more than is kept of what ssh says before a link is open; stock waits for ever at it."""
    banner = open_folder / "banner"
    banner.write_text(BANNER * lines)
    seen = []
    with Sshd(settings=f"Banner {banner}") as talkative:
        for mode in MODES if lines == 100 else ("slipstream",):
            with Controller(venv, mode, talkative, open_folder / "run") as controller:
                run = controller.run(write(open_folder, PING), deadline_seconds=60)
                assert mode == "stock" or controller.status()["tickets"] == 1
            seen.append((run.rc, [(event.kind, event.result) for event in run.events]))
    assert seen[0][0] == 0
    assert seen[0] == seen[-1]


def test_banner_stands_before_what_a_refused_agent_says(venv: Path, users: None, open_folder: Path) -> None:
    """Stock runs that module, over a connection that is open by then."""
    banner = open_folder / "banner"
    banner.write_text(BANNER)
    tasks = """- {ping: , ignore_errors: true, vars: {ansible_python_interpreter: /nonexistent/python}}
- meta: reset_connection
- {command: id, become: true, become_exe: /nonexistent/sudo, ignore_errors: true}"""
    with Sshd(settings=f"Banner {banner}") as talkative:
        run = Play(venv, talkative, open_folder).compare("plain", tasks, no_modules=True)
    said = [event.result["module_stderr"] for event in run.events if "module_stderr" in event.result]
    assert len(said) == 2 and all(BANNER.strip() in words for words in said), run.stdout


def test_key_file_with_a_passphrase(venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock hands the passphrase over as the password, to a question that the user names."""
    monkeypatch.setenv("SLIPSTREAM_LOG", "trace")
    key, passphrase = open_folder / "key", "a passphrase of this key alone"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(key)], check=True)
    variables = {
        "ansible_user": CAROL.name,
        "ansible_ssh_private_key_file": str(key),
        "ansible_password": passphrase,
        "ansible_sshpass_prompt": "Enter passphrase for key",
    }
    (open_folder / "key.json").write_text(json.dumps(variables))
    authorized = sshd.folder / "authorized" / CAROL.name
    before = authorized.read_text()
    authorized.write_text((open_folder / "key.pub").read_text())
    try:
        for mode in MODES:
            with Controller(venv, mode, sshd, open_folder / "run") as controller:
                run = controller.run(write(open_folder, PING), "-e", f"@{open_folder}/key.json", deadline_seconds=60)
                assert run.rc == 0, f"{mode}: {run.stdout}{run.stderr}"
                if mode == "slipstream":
                    assert controller.status()["tickets"] == 1
                    assert passphrase not in (controller.slipstream_folder / "daemon.log").read_text()
    finally:
        authorized.write_text(before)


def test_server_that_says_nothing_is_unreachable_in_time(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """It takes the connection, and that is all."""
    seen = []
    with Relay(sshd.port) as relay:
        relay.stall()
        for mode in MODES:
            with Controller(venv, mode, sshd, open_folder / "run") as controller:
                relay.make_known(open_folder / "run" / "known_hosts")
                options = ["-e", f"ansible_port={relay.port}", "-e", "ansible_ssh_timeout=2"]
                run = controller.run(write(open_folder, PING), *options, deadline_seconds=40)
                seen.append((run.rc, [(event.kind, event.result) for event in run.events]))
    assert seen[0][0] == 4
    assert seen[0] == seen[1]


def test_proxy_that_leaves_a_process(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """It keeps ssh's standard error; that ssh has ended is seen all the same."""
    helpers, proxy, key = open_folder / "helpers", open_folder / "proxy", open_folder / "key"
    proxy.write_text(PROXY.format(helpers=helpers))
    proxy.chmod(0o755)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    options = f"-o IdentitiesOnly=yes -o 'ProxyCommand={proxy} %h %p'"
    variables = {"ansible_ssh_extra_args": options, "ansible_ssh_private_key_file": str(key)}
    seen = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            run = controller.run(write(open_folder, PING), "-e", json.dumps(variables), deadline_seconds=60)
            seen.append((run.rc, [(event.kind, event.result) for event in run.events]))
        for pid in helpers.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        helpers.unlink()
    assert seen[0][0] == 4
    assert seen[0] == seen[1]


def test_way_that_falls_silent_ends_the_task(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    fifo = open_folder / "started"
    subprocess.run(["mkfifo", "-m", "666", str(fifo)], check=True)
    task = f"{{shell: 'echo begun > {fifo}; sleep 300'}}"
    playbook = write(open_folder, f"[{{hosts: plain, gather_facts: false, tasks: [{task}]}}]")
    alive = "-o ServerAliveInterval=1 -o ServerAliveCountMax=2"
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller, Relay(sshd.port) as relay:
        relay.make_known(open_folder / "run" / "known_hosts")
        options = ["-e", f"ansible_port={relay.port}", "-e", f"ansible_ssh_extra_args='{alive}'"]
        process = controller.start(playbook, *options)
        read_line(fifo)
        relay.stall()
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 4, stdout + stderr
    assert "UNREACHABLE!" in stdout and "is not run again" in stdout


def test_task_whose_link_is_lost_is_never_run_twice(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Though the user wants connections to be retried: nobody knows what the module has done."""
    run_and_lose_link(venv, sshd, open_folder)


def run_and_lose_link(venv: Path, sshd: Sshd, folder: Path, *options: str) -> None:
    """Cut the link when a task has begun, and see that this was all of it."""
    fifo, runs = folder / "started", folder / "runs"
    subprocess.run(["mkfifo", "-m", "666", str(fifo)], check=True)
    runs.touch()
    runs.chmod(0o666)
    task = f"{{shell: 'echo run >> {runs}; echo begun > {fifo}; sleep 300'}}"
    playbook = write(folder, f"[{{hosts: plain, gather_facts: false, tasks: [{task}]}}]")
    with Controller(venv, "slipstream", sshd, folder / "run") as controller:
        process = controller.start(playbook, "-e", "ansible_ssh_retries=3", *options)
        read_line(fifo)
        sshd.cut_sessions()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 4, stdout + stderr
    assert "is not run again" in stdout
    assert runs.read_text() == "run\n"


def test_task_that_went_along_with_its_agent_is_never_run_twice(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """It has begun, and the link is lost before the agent's greeting has come."""
    python = open_folder / "python"
    python.write_text('#!/bin/sh\n/usr/bin/python3 "$@" | cat > /dev/null\n')
    python.chmod(0o755)
    run_and_lose_link(venv, sshd, open_folder, "-e", f"ansible_python_interpreter={python}")


def test_another_terminal_shares_the_link(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """What tells terminals apart makes no other link, as it makes none for ssh's ControlPersist."""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        before = sshd.accepted_logins()
        for terminal in ("1", "2"):
            controller.variables |= {"SSH_TTY": f"/dev/pts/{terminal}", "SSH_CONNECTION": f"::1 {terminal} ::1 22"}
            controller.variables["TERM"] = f"t{terminal}"
            assert controller.run(write(open_folder, PING), deadline_seconds=60).rc == 0
        assert sshd.accepted_logins() == before + 1


def test_module_that_stock_runs_is_counted_once_with_its_reason(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = controller.run(write(open_folder, PING), "-e", "ansible_python_interpreter=/no/such/python")
        assert run.rc == 2, run.stdout
        assert controller.status()["stock"] == {"the agent was refused": 1}
