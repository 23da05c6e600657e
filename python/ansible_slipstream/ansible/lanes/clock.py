"""What a thread has done since its clock was started: computed, been blocked, or waited for a processor."""

from __future__ import annotations

import contextlib
import os
import threading
import time

_NANOSECONDS = 1e9


class Clock:
    """Started and read by the same thread."""

    def __init__(self) -> None:
        self._wall = self._computed = self._queued = 0.0

    def start(self) -> None:
        """Count from here."""
        self._wall, self._computed, self._queued = time.monotonic(), time.thread_time(), _queue.seconds()

    def computed_s(self) -> float:
        """Return the seconds on a processor."""
        return time.thread_time() - self._computed

    def blocked_s(self) -> float:
        """Return the seconds that were neither on a processor nor in the queue for one."""
        idle = time.monotonic() - self._wall - self.computed_s()
        return idle - (_queue.seconds() - self._queued)


class _Queue(threading.local):
    """This thread's time in the queue for a processor, as Linux counts it (proc_pid_schedstat(5))."""

    def __init__(self) -> None:
        self._file = -1
        # Where there is no such file, who waits for a processor looks blocked.
        with contextlib.suppress(OSError):
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def seconds(self) -> float:
        """Return the whole time so far."""
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 128, 0).split()[1]) / _NANOSECONDS


_queue = _Queue()


def _forget() -> None:
    global _queue
    _queue = _Queue()


# The file is that of the thread that opened it; in a fork it is another one.
os.register_at_fork(after_in_child=_forget)
