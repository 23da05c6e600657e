"""Find and end processes that a test started, by process id and without polling."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from pathlib import Path

_END_SECONDS = 10.0
_UCRED = struct.Struct("3i")


def end(pid: int, how: signal.Signals = signal.SIGTERM) -> None:
    """Signal `pid` and wait until it is gone; a process that stays is killed. A dead one is fine."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, how)
        if not select.select([handle], [], [], _END_SECONDS)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], _END_SECONDS)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def children(pid: int) -> list[int]:
    """Return the direct children of `pid`; none if it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def owned_by(uid: int) -> list[int]:
    """Return the running processes of the user `uid`, those too that have another's rights (sudo's).

    Another user of that number, in a namespace below ours, is not meant: a copy of the machine has its own accounts.
    """
    owned = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        status = {name: value.split() for name, _, value in (line.partition(":") for line in text.splitlines())}
        # The real user, the one whose rights it has, and two more; its number in our namespace, and in those below.
        if status["State"][0] != "Z" and str(uid) in status["Uid"] and len(status["NSpid"]) == 1:
            owned.append(int(entry.name))
    return owned


def end_listeners(folder: Path) -> None:
    """End every process that listens on a Unix socket below `folder`.

    The kernel names the listener, so no process prints, stores or agrees on its id for our sake.
    """
    for path in folder.rglob("*"):
        if not path.is_socket():
            continue
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                continue
            pid, _, _ = _UCRED.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        end(pid)
