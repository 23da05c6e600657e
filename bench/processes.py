"""What processes cost: CPU time and memory of all that belong to one side of a run, by control groups (cgroups(7))."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from pathlib import Path
from types import TracebackType

# Enters the group whose file is its first argument, and becomes the command behind it.
_ENTER = ["sh", "-c", 'echo $$ >"$0" && exec "$@"']
_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.2


class Group:
    """A control group of version 2: whoever is started in it stays, under whatever name and parent."""

    def __init__(self, name: str) -> None:
        self._parent = _mounted()
        self._folder = self._parent / f"slip-bench-{os.getpid()}-{name}"

    def __enter__(self) -> Group:
        self._folder.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self.pids():
            _move(pid, self._parent)
        self._folder.rmdir()

    def add(self, pid: int) -> None:
        """Take a process in; what it starts from now on follows."""
        _move(pid, self._folder)

    def command(self, command: list[str]) -> list[str]:
        """Return a command that runs ``command`` in the group."""
        return [*_ENTER, str(self._folder / "cgroup.procs"), *command]

    def pids(self) -> list[int]:
        """Return the processes that are in the group."""
        return [int(line) for line in (self._folder / "cgroup.procs").read_text().split()]

    def cpu_seconds(self) -> float:
        """Return the CPU time of all that have ever been in the group, while they were."""
        lines = dict(line.split() for line in (self._folder / "cpu.stat").read_text().splitlines())
        return int(lines["usage_usec"]) / 1e6

    def kill(self) -> None:
        """Kill every process of the group, and wait until they are gone."""
        while pids := self.pids():
            for pid in pids:
                _end(pid)


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time of living processes and of the children that they have waited for."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in pids) / _TICKS


def memory_mb(pids: list[int]) -> float:
    """Return the memory of processes in MB, what they share counted once."""
    total = 0
    for pid in pids:
        lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith(b"Pss:"))
    return total / 1024


def named(pids: list[int], name: str) -> list[int]:
    """Return those that run a program of this name."""
    return [pid for pid in pids if _read(Path(f"/proc/{pid}/comm")) == name.encode() + b"\n"]


class MemoryPeak:
    """Samples the memory of a group while its block runs; ``mb`` is the highest sum.

    Not that of ssh: a client for each host that is open belongs to OpenSSH, whoever starts it.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)
        self.mb = 0.0

    def __enter__(self) -> MemoryPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            pids = self._group.pids()
            self.mb = max(self.mb, memory_mb(sorted(set(pids) - set(named(pids, "ssh")))))


def _mounted() -> Path:
    """Return where the groups of version 2 are."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    raise SystemExit("bench: control groups of version 2 are not mounted here; mount -t cgroup2 none FOLDER")


def _move(pid: int, folder: Path) -> None:
    # It may have ended meanwhile.
    with contextlib.suppress(ProcessLookupError):
        (folder / "cgroup.procs").write_text(str(pid))


def _end(pid: int) -> None:
    """Kill a process and wait until it is gone; it need not be our child."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(watched) as end:
        signal.pidfd_send_signal(end.fileno(), signal.SIGKILL)
        select.select([end], [], [], 10)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        # It has ended meanwhile.
        return b""


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat behind the name: state first; zeros if it has ended."""
    text = _read(Path(f"/proc/{pid}/stat"))
    return text[text.rfind(b")") + 2 :].split() if text else []
