"""A process that a task has moved to, from the middle of a lane, ends with its playbook."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from kit.processes import end
from kit.runner import Controller
from kit.running import ended, read_lines
from kit.sshd import Sshd
from kit.versions import core
from test_shards import HOSTS, hosts_here, write

LOOKUPS = str(Path(__file__).parent / "playbooks" / "lookup_plugins")

# Holds the child, by a hook of the C library, where Python has not set it up yet, until the signal is there.
FORK = """
import ctypes, os, signal, sys
from ansible_slipstream.ansible.lanes.moving import _Fork
number = int(sys.argv[1])
libc = ctypes.CDLL(None)
go_on, goes_on = os.pipe()
os.dup2(go_on, 0)
libc["__register_atfork"](None, None, libc.getchar, None)
signal.signal(number, signal.default_int_handler)
fork = _Fork(None)
if fork.is_here:
    try:
        fork.take_signals()
    except KeyboardInterrupt:
        os._exit(42)
    os._exit(0)
os.kill(fork.pid, number)
os.write(goes_on, b"!")
print(os.waitstatus_to_exitcode(os.waitpid(fork.pid, 0)[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_that_comes_while_a_process_is_set_up_waits_until_it_is(venv: Path, number: signal.Signals) -> None:
    command = [str(venv / "bin" / "python"), "-c", FORK, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "42\n"


@pytest.mark.parametrize("shards", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None], ids=["INT", "TERM", "dead worker"])
def test_task_that_computes_where_it_has_moved_ends_with_its_playbook(
    venv: Path,
    sshd: Sshd,
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals | None,
    shards: str,
) -> None:
    """Python 3.13 and later run no handler of a signal that comes while such a process computes.

    Nothing is forked when the signal comes: stock's own workers may miss one that does while they start.
    """
    if number == signal.SIGTERM and core(venv) < (2, 19):
        pytest.skip("up to 2.18 stock leaves its workers running")
    monkeypatch.setenv("SLIPSTREAM_SHARDS", shards)
    begun, go_on = open_folder / "begun", open_folder / "go_on"
    for fifo in (begun, go_on):
        os.mkfifo(fifo)
    task = f"""- debug: {{msg: "{{{{ lookup('unruly', term, **options) }}}}"}}
  loop: [1]
  when: inventory_hostname in ["wide15", "wide16"]
  vars:
    term: "{{{{ 'computes' if inventory_hostname == 'wide15' else 'runs' }}}}"
    options: "{{{{ computes if inventory_hostname == 'wide15' else runs }}}}"
    computes: {{place: {begun}}}
    runs: {{command: 'echo $PPID > {begun}; read line < {go_on}; kill -9 $PPID'}}"""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        controller.variables["ANSIBLE_LOOKUP_PLUGINS"] = LOOKUPS
        process = controller.start(write(open_folder, task), *hosts_here(open_folder, HOSTS), "-f", str(HOSTS))
        moved: list[int] = []
        try:
            moved += map(int, read_lines(begun, 2).split())
            if number is None:
                go_on.write_text("now\n")
            elif number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            stdout, stderr = process.communicate(timeout=30)
            left = [pid for pid in moved if not ended(pid, 5)]
        finally:
            for pid in (process.pid, *moved):
                end(pid)
    assert process.returncode != 0 and not left, stdout + stderr
    assert number is not None or "dead state" in stderr
