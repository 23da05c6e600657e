"""A playbook that waits in the middle of a task, and the processes that it has on both sides."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import processes
from .runner import Controller

START_SECONDS = 60.0
# The promise: that long after an end, no process is left on either side.
END_SECONDS = 5.0

_PLAY = """\
- hosts: {hosts}
  gather_facts: false
  become: {become}
  tasks:
    - name: wait
      shell: "{trap}echo $$ $PPID > {fifo}; exec sleep 300"
"""


@dataclass(frozen=True)
class Waiting:
    """A run whose module has started and will not end by itself."""

    process: subprocess.Popen[str]
    # The sleeping command, then the module that waits for it.
    command: int
    module: int
    daemon: int
    ssh: int
    agents: list[int]

    def left(self) -> list[int]:
        """Return the processes that have not ended within the promised time."""
        pids = [self.command, self.module, *self.agents]
        return [pid for pid in pids if not ended(pid, END_SECONDS)]

    def output(self) -> str:
        """Wait for the run's end and return all that it printed."""
        stdout, stderr = self.process.communicate(timeout=START_SECONDS)
        return stdout + stderr


@contextmanager
def waiting(
    controller: Controller, folder: Path, hosts: str = "plain", become: bool = False, deaf: bool = False
) -> Iterator[Waiting]:
    """Run a play up to the middle of its task, and kill it at the end if it still runs.

    Its command ignores signals if it is ``deaf``.
    """
    fifo = folder / "started"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    playbook = folder / "wait.yml"
    trap = "trap '' TERM INT HUP; " if deaf else ""
    playbook.write_text(_PLAY.format(hosts=hosts, fifo=fifo, become=str(become).lower(), trap=trap))
    process = controller.start(playbook)
    try:
        command, module = (int(word) for word in read_line(fifo).split())
        status = controller.status()
        yield Waiting(process, command, module, status["pid"], *_link(status))
    finally:
        process.kill()
        process.communicate()
        fifo.unlink()


def read_line(fifo: Path) -> str:
    """Return the line that is written into `fifo`, within the time that a play may take to start."""
    return read_lines(fifo, 1)


def read_lines(fifo: Path, count: int) -> str:
    """Return the lines that are written into `fifo`, `count` of them at least."""
    # Written to, too, so that it has no end between two writers.
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    read = ""
    try:
        while read.count("\n") < count:
            if not select.select([descriptor], [], [], START_SECONDS)[0]:
                raise TimeoutError(f"no {count} lines were written into {fifo}: {read}")
            read += os.read(descriptor, 4096).decode()
    finally:
        os.close(descriptor)
    return read


@contextmanager
def written_file(folder: Path) -> Iterator[Callable[[], None]]:
    """Watch a folder; the given function returns once a file in it was written to since."""
    in_modify = 0x2  # linux/inotify.h
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init()
    if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(folder), in_modify) < 0:
        raise OSError(ctypes.get_errno(), f"{folder} can't be watched")

    def wait() -> None:
        if not select.select([watch], [], [], START_SECONDS)[0]:
            raise TimeoutError(f"nothing was written in {folder}")

    try:
        yield wait
    finally:
        os.close(watch)


def ended(pid: int, seconds: float) -> bool:
    """Tell whether a process ends within `seconds`."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def end_all(controller: Controller, *, cut: bool = False) -> int:
    """End the daemon, its links before it if they are ``cut``, wait for the agents' end, and return their number."""
    status = controller.status()
    agents = [agent["pid"] for link in status["links"] for agent in link["agents"]]
    if cut:
        for link in status["links"]:
            processes.end(link["pid"], signal.SIGKILL)
    assert controller.tool("stop").returncode == 0
    assert [pid for pid in agents if not ended(pid, END_SECONDS)] == []
    return len(agents)


def _link(status: dict[str, Any]) -> tuple[int, list[int]]:
    (link,) = status["links"]
    return link["pid"], [agent["pid"] for agent in link["agents"]]
