"""Shards: a wide step's lanes in a few processes, one for each processor, instead of all in one.

Ansible's code runs on one processor, however many lanes there are. With many hosts and processors to spare, a
step's lanes are dealt out to as many forked workers, each with a baton of its own; what they send goes through the
pipe that stock's workers send through.
"""

from __future__ import annotations

import functools
import math
import mmap
import os
import time
from typing import Any

from ansible.utils.display import Display
from ansible.utils.multiprocessing import context as multiprocessing_context

from . import isolation
from .baton import Baton
from .choice import BLOCKED_S
from .lane import LIVE, Lane
from .news import News

display = Display()

# Fewer lanes for each shard, and the fork costs more than it saves.
LEAST_LANES = 8
# What the forks of a step cost, with the memory that is copied behind them.
FORKS_S = 0.08
# What a lane's place in the table of ends says: nothing yet, or one more than its exit code, and perhaps that it
# kept the others of its shard waiting.
RUNNING, BLOCKED = 0, 0x80


def processors() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        # Not on this system.
        return os.cpu_count() or 1


class ShardLane(Lane):
    """A lane that is started with others of its step, here or in a shard."""

    def __init__(self, gathering: Gathering, *args: Any) -> None:
        super().__init__(*args)
        self._gathering = gathering
        self._ends: mmap.mmap | None = None
        self._place = 0
        self._blocked = 0
        # In a shard: the process that the task goes on in.
        self._child: Any = None

    def start(self) -> None:
        """Wait for the others of the step."""
        self._gathering.add(self)

    def start_here(self) -> None:
        """Run in this process until the task waits for the first time."""
        super().start()

    def deal(self, process: Any, ends: mmap.mmap, place: int) -> None:
        """Belong to a shard; its process notes in ``ends`` how the lane at ``place`` has ended."""
        self.process, self._ends, self._place = process, ends, place
        self.worker_queue = process.worker_queue

    def start_in_shard(self, baton: Baton, shard_news: News) -> None:
        """In the shard's process: run, and note the end for the process of the playbook."""

        def note_end() -> None:
            assert self._ends is not None
            # Seven bits; that it is not 0 is all that counts.
            code = self._code if 0 <= self._code < BLOCKED - 1 else 1
            self._ends[self._place] = 1 + code | self._blocked
            self._news.tell()
            shard_news.tell()

        self.on_end = note_end
        self.baton = baton
        self.start_here()

    def held(self, computed_s: float, blocked_s: float) -> None:
        """Note for the process of the playbook that others had to wait; shards compute side by side."""
        if self._ends is None:
            super().held(computed_s, blocked_s)
        elif blocked_s > BLOCKED_S:
            self._blocked = BLOCKED

    def is_alive(self) -> bool:
        """Tell whether the task still runs, or waits for its start."""
        if self._ends is None:
            return super().is_alive()
        return self._noted() == RUNNING and bool(self.process.is_alive())

    def code(self) -> int | None:
        """Return the exit code, as far as there is one; a shard that has died takes its lanes along."""
        if self._ends is None:
            return super().code()
        # In this order: the end is noted before the process ends.
        shard_ended = self.process.exitcode is not None
        noted = self._noted()
        if noted == RUNNING:
            return 1 if shard_ended else None
        return noted - 1

    def _noted(self) -> int:
        """Return what the shard has noted of the lane's end."""
        assert self._ends is not None
        noted = self._ends[self._place]
        if noted & BLOCKED:
            self.choice.note_blocked(self.fields["task"])
        return noted & ~BLOCKED

    def has_ended(self) -> bool:
        """Tell in the shard whether the end has been noted."""
        assert self._ends is not None
        return self._ends[self._place] != RUNNING

    def _have_answered(self, successor: Any) -> None:
        """Keep the shard's queue for answers, in a shard: the playbook's process knows no other."""
        if self._ends is None:
            super()._have_answered(successor)

    def _leave_for(self, successor: Any) -> None:
        """Stand for the process; in a shard that is the shard's own, which is all that the playbook's knows."""
        if self._ends is None:
            super()._leave_for(successor)
        else:
            self._child = successor
            self._blocked = BLOCKED

    def _see_off(self) -> None:
        """Wait for it, in a shard; not before, where a template has been left in its middle."""
        if self._child is not None:
            assert self.baton is not None
            self.baton.give(self)
            self._child.join()
            self.baton.take()
            # Nothing, where another thread has just seen it end.
            self._code = 1 if self._child.exitcode is None else self._child.exitcode


class Gathering:
    """The lanes of a step that have not been started yet.

    ``setting`` tells how many shards a step has; None leaves that to the processors and to what its first lane
    computes. One is none: the lanes stay in the process of the playbook.
    """

    def __init__(self, stock_worker: Any, setting: int | None, news: News) -> None:
        self._worker = _worker(stock_worker)
        self._shards = processors() if setting is None else setting
        self._measured = setting is None
        self._news = news
        self._lanes: list[ShardLane] = []
        # What the first lane of the step took until it waited.
        self._first_s: float | None = None

    def wanted(self, hosts: int, workers: int) -> bool:
        """Tell whether a step of so many hosts may be wide enough, and all of it starts at once."""
        return self._shards > 1 and 2 * LEAST_LANES <= hosts <= workers

    def add(self, lane: ShardLane) -> None:
        """Take a lane; it starts with the next ``start``, or now if it is to tell what the others will compute."""
        task = lane.fields["task"]
        if not self._measured or self._first_s is not None or task.loop is not None or lane.choice.computes(task):
            self._lanes.append(lane)
            return
        started = time.monotonic()
        lane.start_here()
        self._first_s = time.monotonic() - started

    def start(self) -> None:
        """Start what was gathered: in shards if that is quicker, else in this process."""
        lanes, self._lanes = self._lanes, []
        first_s, self._first_s = self._first_s, None
        width = len(lanes) + (first_s is not None)
        shards = min(self._shards, width // LEAST_LANES)
        if shards < 2 or (first_s is not None and first_s * _spared(len(lanes), shards) < FORKS_S):
            for lane in lanes:
                lane.start_here()
        else:
            self._deal(lanes, shards)

    def _deal(self, lanes: list[ShardLane], shards: int) -> None:
        isolation.flush_output()
        ends = mmap.mmap(-1, len(lanes))
        for number in range(shards):
            dealt = range(number, len(lanes), shards)
            worker = self._worker(lanes[number].fields)
            worker.lanes = [lanes[place] for place in dealt]
            for place in dealt:
                lanes[place].deal(worker, ends, place)
            worker.start()


def _spared(lanes: int, shards: int) -> int:
    """Return how many lanes less one process runs if so many shards share them."""
    return lanes - math.ceil(lanes / shards)


def _worker(stock_worker: Any) -> Any:
    """Return stock's worker class, made to run lanes; it signals, detaches and fails as stock's does."""

    class Shard(stock_worker):  # type: ignore[misc]
        lanes: list[ShardLane]

        def __init__(self, fields: dict[str, Any]) -> None:
            super().__init__(**fields)

        def _run(self) -> None:
            # This thread was holding it when it forked; threads of lanes that move want it.
            display._lock.release()
            display.set_queue(self._final_q)
            _ask_one_by_one()
            isolation.divide_output()
            # What the playbook's process runs is not this one's.
            LIVE.clear()
            isolation.end_children_on_signals(LIVE, in_worker=True)
            baton, shard_news = Baton(), News()
            shard_news.wake_on_signals()
            for lane in self.lanes:
                lane.start_in_shard(baton, shard_news)
            with baton.lent():
                while not all(lane.has_ended() for lane in self.lanes):
                    shard_news.wait((), None)

    return Shard


def _ask_one_by_one() -> None:
    """Let what runs in a shard, or has moved from it, ask the user in turn: all are answered through one queue."""
    asking = multiprocessing_context.Lock()
    stock_prompt = display.prompt_until

    @functools.wraps(stock_prompt)
    def prompt(*args: Any, **kwargs: Any) -> bytes:
        with asking:
            return stock_prompt(*args, **kwargs)  # type: ignore[no-any-return]

    display.prompt_until = prompt
