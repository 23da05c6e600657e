"""What processes cost: CPU time and memory of all that belong to one way of running, read from /proc."""

from __future__ import annotations

import os
import threading
from pathlib import Path

# Every process of a way's controller side has it in its environment; nothing that sshd starts has.
MARK = "SLIPSTREAM_BENCH"
_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.2


def marked(mark: str) -> list[int]:
    """Return the processes whose environment has ``mark``."""
    wanted = f"{MARK}={mark}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and wanted in _read(entry / "environ"):
            found.append(int(entry.name))
    return found


def below(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else []
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


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


def without_ssh(pids: list[int]) -> list[int]:
    """Return those that run another program than ssh."""
    return [pid for pid in pids if _read(Path(f"/proc/{pid}/comm")) != b"ssh\n"]


class MemoryPeak:
    """Samples the memory of a way's controller side while its block runs; ``mb`` is the highest sum.

    Not that of ssh: a client for each host that is open belongs to OpenSSH, whoever starts it.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
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
            self.mb = max(self.mb, memory_mb(without_ssh(marked(self._mark))))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        # It has ended meanwhile.
        return b""


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat behind the name: state first; empty if it has ended."""
    text = _read(Path(f"/proc/{pid}/stat"))
    return text[text.rfind(b")") + 2 :].split() if text else []
