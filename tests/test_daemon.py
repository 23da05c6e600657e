"""The daemon's life: one per folder, private, hard to upset, gone when nobody needs it."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_slipstream import __version__, _native, greeting
from ansible_slipstream.ansible import runtime
from ansible_slipstream.client import Client
from ansible_slipstream.errors import ChannelTimeout, DaemonNotRunning, UnsafeState
from ansible_slipstream.settings import Settings
from kit import processes
from kit.running import ended

HEADER = struct.Struct(">IIBBHI")


@pytest.fixture
def settings(open_folder: Path) -> Iterator[Settings]:
    """Settings with a state folder of their own; the daemon in it ends with the test."""
    state = open_folder / "state"
    yield Settings(state_dir=str(state), log="debug")
    processes.end_listeners(open_folder)


def hello(version: str) -> bytes:
    text = json.dumps({"op": "hello", "version": version}).encode()
    return HEADER.pack(len(text), 0, 1, 1, 0, 0) + text


def raw_connection(settings: Settings) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(f"{settings.state_dir}/daemon.sock")
    return connection


def make_step_aside(settings: Settings) -> None:
    """Greet the daemon as a newer client does."""
    with raw_connection(settings) as newer:
        newer.sendall(hello("99.0+0"))
        assert b'"retiring"' in newer.recv(4096)
        assert newer.recv(4096) == b""


def test_ten_at_the_same_instant_start_one_daemon(settings: Settings) -> None:
    code = (
        "import sys; from ansible_slipstream.client import Client; from ansible_slipstream.settings import Settings;"
        "print('here', flush=True); sys.stdin.read(); print(Client(Settings(state_dir=sys.argv[1])).daemon_pid)"
    )
    command = [sys.executable, "-c", code, settings.state_dir]
    # All wait for the end of one pipe.
    waiting, gate = os.pipe()
    starters = [subprocess.Popen(command, stdin=waiting, stdout=subprocess.PIPE, text=True) for _ in range(10)]
    for starter in starters:
        assert starter.stdout and starter.stdout.readline() == "here\n"
    os.close(gate)
    pids = {starter.communicate(timeout=30)[0] for starter in starters}
    os.close(waiting)
    assert len(pids) == 1 and pids.pop().strip().isdigit()


def test_daemon_is_no_process_of_the_job_that_starts_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services end what has the marks of a job in its environment."""
    monkeypatch.setenv("BUILD_ID", "7")
    pid = Client(settings).daemon_pid
    names = {entry.partition("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")}
    assert "BUILD_ID" not in names
    assert "PATH" in names


def test_unused_daemon_ends(settings: Settings) -> None:
    pid = Client(Settings(state_dir=settings.state_dir, idle_s=0.2)).daemon_pid
    assert ended(pid, 10)
    with pytest.raises(DaemonNotRunning):
        Client(settings, start=False)


def test_daemon_survives_a_client_that_dies_at_any_byte(settings: Settings) -> None:
    pid = Client(settings).daemon_pid
    status = json.dumps({"op": "status"}).encode()
    whole = hello(_native.BUILD) + HEADER.pack(len(status), 3, 1, 1, 0, 0) + status + b"abc"
    for cut in range(len(whole)):
        with raw_connection(settings) as connection:
            connection.sendall(whole[:cut])
    assert Client(settings, start=False).daemon_pid == pid


@pytest.mark.parametrize(
    "nonsense",
    [
        HEADER.pack(0xFFFFFFFF, 0, 1, 1, 0, 0),
        HEADER.pack(2, 0, 9, 1, 0, 0) + b"{}",
        HEADER.pack(2, 0, 1, 99, 0, 0) + b"{}",
        HEADER.pack(4, 0, 1, 1, 0, 0) + b"\xff\xfe{}",
        HEADER.pack(15, 0, 1, 1, 0, 0) + b'{"op":"status"}',
    ],
    ids=["huge", "kind", "version", "not-json", "no-hello"],
)
def test_nonsense_ends_that_connection_only(settings: Settings, nonsense: bytes) -> None:
    first = Client(settings)
    with raw_connection(settings) as connection:
        connection.sendall(nonsense)
        assert connection.recv(100) == b""
    assert first.ask("status")[0]["report"]["pid"] == first.daemon_pid


def test_two_builds_of_one_version_are_told_apart(settings: Settings) -> None:
    """Whoever installs from a checkout again finds the daemon of the last one still there."""
    version, _, build = _native.BUILD.partition("+")
    assert version == __version__
    assert int(build, 16)
    Client(settings)
    with raw_connection(settings) as other:
        other.sendall(hello(f"{__version__}+0"))
        assert b'"retiring"' in other.recv(4096)


def test_older_daemon_steps_aside_after_its_last_client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Client(settings)
    make_step_aside(settings)
    # Its socket is free for the next daemon at once, and its own client is still served.
    young = Client(settings)
    assert young.daemon_pid != old.daemon_pid
    assert old.ask("status")[0]["report"]["pid"] == old.daemon_pid
    pid = old.daemon_pid
    del old
    assert ended(pid, 10)
    assert young.ask("status")[0]["report"]["pid"] == young.daemon_pid


def test_run_is_held_by_the_daemon_that_serves_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that it began with may look alive when another has taken its place."""
    monkeypatch.setattr(runtime, "settings", lambda: settings)
    monkeypatch.setattr(runtime, "RUN", runtime.Run())
    runtime.RUN.begin()
    make_step_aside(settings)
    assert runtime.client().ask("status")[0]["report"]["runs"] == 1
    runtime.drop_client()


def test_versions_that_fight_are_told_apart_clearly(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "BUILD", "99.0+0")
    with pytest.raises(Exception, match=r"another version than this client \(99\.0\+0\).*slipstream stop"):
        Client(settings)


def test_stopped_daemon_holds_nobody_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = Client(settings).daemon_pid
    monkeypatch.setattr(greeting, "GREETING_DEADLINE_S", 0.2)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ChannelTimeout):
            Client(settings)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_folder_of_another_user_is_refused(settings: Settings) -> None:
    state = Path(settings.state_dir)
    state.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(state, nobody, -1)
    with pytest.raises(UnsafeState, match=f"uid {nobody} owns it"):
        Client(settings)


def test_folder_that_others_can_write_is_refused(settings: Settings) -> None:
    state = Path(settings.state_dir)
    state.mkdir()
    state.chmod(0o770)
    with pytest.raises(UnsafeState, match="make it 0700"):
        Client(settings)


def test_listener_of_another_user_is_refused(settings: Settings) -> None:
    state = Path(settings.state_dir)
    state.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody").pw_uid
    listening, told = os.pipe()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(state / "daemon.sock"))
    child = os.fork()
    if child == 0:
        # The kernel remembers who called listen.
        os.setresuid(nobody, nobody, nobody)
        listener.listen()
        os.write(told, b"x")
        threading.Event().wait()
    try:
        os.read(listening, 1)
        with pytest.raises(UnsafeState, match=f"uid {nobody} listens there"):
            Client(settings)
    finally:
        processes.end(child)
        os.waitpid(child, 0)
        listener.close()


def test_connection_of_another_user_is_refused(settings: Settings) -> None:
    Client(settings)
    state = Path(settings.state_dir)
    state.chmod(0o755)
    (state / "daemon.sock").chmod(0o777)
    code = (
        "import os,socket,sys; os.setuid(int(sys.argv[2])); s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.settimeout(10); print(s.recv(1))"
    )
    nobody = pwd.getpwnam("nobody").pw_uid
    done = subprocess.run(
        [sys.executable, "-c", code, str(state / "daemon.sock"), str(nobody)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    state.chmod(0o700)
    assert done.stdout == "b''\n", done.stderr
    assert "another user refused" in (state / "daemon.log").read_text()


def test_log_level_changes_while_it_runs(settings: Settings) -> None:
    quiet = Settings(state_dir=settings.state_dir, log="off")
    client = Client(quiet)
    log = Path(settings.state_dir) / "daemon.log"
    assert log.read_text() == ""
    client.ask("log", level="debug")
    with raw_connection(settings) as connection:
        connection.sendall(b"x" * HEADER.size)
        assert connection.recv(1) == b""
    client.ask("status")
    assert "client cut off" in log.read_text()


def test_status_counts_what_it_says(settings: Settings) -> None:
    client = Client(settings)
    client.ask("stock", reason="because")
    report: dict[str, Any] = client.ask("status")[0]["report"]
    assert report["stock"] == {"because": 1}
    assert report["links"] == [] and report["tickets"] == 0
    assert report["closures"] == {"known": 0, "bytes": 0, "hits": 0, "misses": 0}
