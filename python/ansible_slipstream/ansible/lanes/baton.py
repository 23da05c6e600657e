"""Which thread runs Ansible's code: one at a time, handed over only where a lane waits.

Ansible's code is not made for threads. A lane that has the baton runs alone until it waits for a
target, sleeps, or ends; nothing of Ansible's ever runs beside it but what stock's own threads do.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from .clock import Clock


class Moved(BaseException):
    """The task goes on in a process of its own: unwinds the lane that it has left."""


class Runner(Protocol):
    """What a thread runs: a lane."""

    # Whether its task goes on elsewhere.
    left: bool

    @property
    def baton(self) -> Baton | None:
        """The baton to hand over while waiting; None where the main thread runs the lane itself."""

    def process_left(self) -> contextlib.AbstractContextManager[None]:
        """Leave the process, for the while of a wait, as it was before the lane began."""

    def held(self, computed_s: float, blocked_s: float) -> None:
        """Hear what the lane did while others had to wait for it."""


_local = threading.local()


def current() -> Runner | None:
    """Return the lane that this thread runs, or None."""
    return getattr(_local, "lane", None)


@contextlib.contextmanager
def running(lane: Runner) -> Iterator[None]:
    """Make a lane this thread's."""
    _local.lane, _local.waits = lane, False
    try:
        yield
    finally:
        leave()


def leave() -> None:
    """Run no lane from here on."""
    _local.lane = None


def refuse_what_has_left() -> None:
    """Let the clean-up code of a lane whose task goes on elsewhere do nothing to a target.

    Raises:
        Moved: this thread's lane is such a one.
    """
    lane = current()
    if lane is not None and lane.left:
        raise Moved


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Let other lanes run meanwhile; for whatever blocks in a lane and touches nothing of Ansible's."""
    refuse_what_has_left()
    lane = current()
    if lane is None or lane.baton is None or _local.waits:
        yield
        return
    _local.waits = True
    with lane.process_left():
        lane.baton.give(lane)
        try:
            yield
        finally:
            lane.baton.take()
            _local.waits = False


def pause(seconds: float) -> None:
    """Wait that long, and let other lanes run meanwhile; less if its lanes come to stand still."""
    lane = current()
    over = threading.Event() if lane is None or lane.baton is None else lane.baton.over
    with waiting():
        over.wait(seconds)


def excuse() -> None:
    """Do not count what this lane has done since it got the baton: work that serves all hosts."""
    lane = current()
    if lane is not None and lane.baton is not None:
        lane.baton.start_clock()


class Baton:
    """The main thread has it first. After an abandoned wait (Ctrl-C) lanes that want it stand still for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        # Set when the lanes of this baton stand still for good.
        self.over = threading.Event()
        self._clock = Clock()
        # Given back once, to the main thread that started the lane.
        self._starter: threading.Lock | None = None

    def start(self, run: Callable[[], None]) -> None:
        """Let another thread run until it waits or ends, with the main thread's baton."""
        started = threading.Lock()
        started.acquire()
        self._starter = started
        _idle_thread().put(run, self)
        try:
            started.acquire()
        except BaseException:
            self.over.set()
            raise

    def hand_over(self) -> None:
        """Let others run."""
        starter, self._starter = self._starter, None
        if starter is None:
            self._lock.release()
        else:
            starter.release()

    def give(self, lane: Runner) -> None:
        """Let others run."""
        self.tell(lane)
        self.hand_over()

    def tell(self, lane: Runner) -> None:
        """Tell the lane that has the baton what it did with it."""
        lane.held(self._clock.computed_s(), self._clock.blocked_s())

    def take(self) -> None:
        """Wait for the baton."""
        self._lock.acquire()
        if self.over.is_set():
            # Not an end but a stop: the process is about to exit, and clean-up code would run tasks.
            threading.Event().wait()
        self.start_clock()

    def start_clock(self) -> None:
        """Count from here how long others wait."""
        self._clock.start()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """For the main thread: let lanes run while it waits."""
        self._lock.release()
        try:
            yield
            self._lock.acquire()
        except BaseException:
            self.over.set()
            raise


class _Thread(threading.Thread):
    """Runs one lane after another. A daemon thread: a lane that stands still holds nothing up."""

    def __init__(self) -> None:
        super().__init__(name="slipstream-lane", daemon=True)
        self._work: queue.SimpleQueue[tuple[Callable[[], None], Baton]] = queue.SimpleQueue()
        self.start()

    def put(self, run: Callable[[], None], baton: Baton) -> None:
        """Give it something to run, and the baton."""
        self._work.put((run, baton))

    def run(self) -> None:
        while True:
            run, baton = self._work.get()
            baton.start_clock()
            try:
                run()
                _idle.append(self)
            finally:
                # Whatever has happened, others wait for it.
                baton.hand_over()


_idle: list[_Thread] = []
# A fork has no threads but the one that forks.
os.register_at_fork(after_in_child=_idle.clear)


def _idle_thread() -> _Thread:
    return _idle.pop() if _idle else _Thread()
