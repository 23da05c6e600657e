"""The kit's own promises, against a real sshd and a real ansible-playbook."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from kit import processes, web
from kit.accounts import ALICE, EVERYONE
from kit.runner import Controller
from kit.sshd import Sshd


def ssh(sshd: Sshd, folder: Path, command: str) -> list[str]:
    """Return the command line that logs in as alice, with no configuration but ours."""
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(sshd.known_hosts())
    trust = ["-F", "none", "-i", str(sshd.user_key), "-o", f"UserKnownHostsFile={known_hosts}"]
    return ["ssh", *trust, "-o", "BatchMode=yes", "-p", str(sshd.port), f"{ALICE.name}@127.0.0.77", command]


def test_every_loopback_address_is_a_trusted_host(sshd: Sshd, tmp_path: Path) -> None:
    before = sshd.accepted_logins()
    line = ssh(sshd, tmp_path, "id -un")
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, f"{ALICE.name}\n"), done.stderr
    assert sshd.accepted_logins() == before + 1


def test_leaving_the_block_ends_server_and_sessions(users: None, tmp_path: Path) -> None:
    with Sshd(max_sessions=1) as server:
        line = ssh(server, tmp_path, "echo up; cat")
        client = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdout and client.stdout.readline() == b"up\n"
    assert client.wait(timeout=10) == 255
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", server.port))


def test_stderr_of_a_failed_start_is_told(users: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        monkeypatch.setattr("kit.sshd._free_port", lambda: taken.getsockname()[1])
        with pytest.raises(RuntimeError, match="Address already in use"), Sshd():
            pass


def test_accounts_exist_while_the_session_lasts(users: None) -> None:
    assert all(account.exists() for account in EVERYONE)


@pytest.mark.parametrize("apart", [False, True])
def test_processes_of_a_copy_of_the_machine_are_not_this_ones(apart: bool) -> None:
    """Both have accounts with the same numbers, and the outer one sees the inner one's processes."""
    nobodys = 54321
    inside = ["unshare", "--pid", "--fork", "--kill-child"] if apart else []
    line = [*inside, "setpriv", "--reuid", str(nobodys), "sh", "-c", "echo up; exec cat"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"up\n"
        found = processes.owned_by(nobodys)
        assert found == ([] if apart else [process.pid])


def test_listener_is_ended_by_its_socket(tmp_path: Path) -> None:
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
        "print(flush=True); s.accept(); s.accept()"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "socket")]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as listener:
        assert listener.stdout and listener.stdout.readline()
        processes.end_listeners(tmp_path)
        assert listener.wait(timeout=10) != 0


def test_web_serves_the_same_each_time(tmp_path: Path) -> None:
    with web.serving(tmp_path) as url, urllib.request.urlopen(f"{url}/numbers.json", timeout=5) as answer:
        assert json.load(answer) == {"numbers": [1, 2, 3]}
        assert answer.headers["Last-Modified"] == "Sun, 13 Sep 2020 12:26:40 GMT"


def test_run_is_recorded_and_leaves_nothing(sshd: Sshd, venv: Path, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: plain, gather_facts: false, tasks: [{name: who, command: id -un}]}]")
    with Controller(venv, "stock", sshd, open_folder / "run") as controller:
        run = controller.run(playbook)
        masters = list((open_folder / "run" / "cp").iterdir())
    kinds = [(event.kind, event.host, event.task) for event in run.events]
    assert kinds == [("ok", "plain", "who"), ("stats", "plain", "")], run.stderr
    assert run.events[0].result["stdout"] == ALICE.name
    assert run.rc == 0 and len(masters) == 1
    assert not (open_folder / "run").exists()


def test_run_is_killed_at_its_deadline(sshd: Sshd, venv: Path, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: plain, gather_facts: false, tasks: [{name: slow, command: sleep 60}]}]")
    with (
        Controller(venv, "stock", sshd, open_folder / "run") as controller,
        pytest.raises(TimeoutError, match=r"TASK \[slow"),
    ):
        controller.run(playbook, deadline_seconds=5)
