"""Shards: a wide step's lanes in a few processes, one for each processor, instead of all in one.

Ansible's code runs on one processor, however many lanes there are. With many hosts and processors to spare, a
step's lanes are dealt out to as many forked workers, each with a baton of its own; what they send goes through the
pipe that stock's workers send through.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import Any

from ansible.utils.display import Display

from . import isolation
from .baton import Baton
from .lane import Lane
from .news import News

display = Display()

# Fewer lanes for each shard, and the fork costs more than it saves.
LEAST_LANES = 8
# What a lane's place in the table of ends says: nothing yet, or one more than its exit code, and perhaps that it
# kept the others of its shard waiting.
RUNNING, SLOW = 0, 0x80


def choose(setting: int | None) -> int:
    """Return how many shards a step may have: as set, or one for each processor that this process may use.

    One is none: the lanes stay in the process of the playbook.
    """
    return _processors() if setting is None else setting


def _processors() -> int:
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
        self._process: Any = None
        self._ends: mmap.mmap | None = None
        self._place = 0
        self._slow = 0

    @property
    def sentinel(self) -> int | None:
        """What becomes readable when the shard's process has ended; None without a process."""
        return None if self._process is None else int(self._process.sentinel)

    @property
    def pid(self) -> int | None:
        """The process that stock signals."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Wait for the others of the step."""
        self._gathering.add(self)

    def start_here(self, baton: Baton) -> None:
        """Run in this process until the task waits for the first time."""
        self.baton = baton
        super().start()

    def deal(self, process: Any, ends: mmap.mmap, place: int) -> None:
        """Belong to a shard; its process notes in ``ends`` how the lane at ``place`` has ended."""
        self._process, self._ends, self._place = process, ends, place

    def start_in_shard(self, baton: Baton, ended: threading.Semaphore) -> None:
        """In the shard's process: run, and note the end for the process of the playbook."""

        def note_end() -> None:
            assert self._ends is not None
            self._ends[self._place] = 1 + self._code | self._slow
            self._news.tell()
            ended.release()

        self.held_long = self._note_slow
        self.on_end = note_end
        self.start_here(baton)

    def _note_slow(self) -> None:
        self._slow = SLOW

    def is_alive(self) -> bool:
        """Tell whether the task still runs, or waits for its start."""
        if self._process is None:
            return super().is_alive()
        return self._noted() == RUNNING and self._process.is_alive()

    def code(self) -> int | None:
        """Return the exit code, as far as there is one; a shard that has died takes its lanes along."""
        if self._process is None:
            return super().code()
        # In this order: the end is noted before the process ends.
        shard_ended = self._process.exitcode is not None
        noted = self._noted()
        if noted == RUNNING:
            return 1 if shard_ended else None
        return noted - 1

    def _noted(self) -> int:
        """Return what the shard has noted of the lane's end."""
        assert self._ends is not None
        noted = self._ends[self._place]
        if noted & SLOW:
            self.held_long()
        return noted & ~SLOW

    def terminate(self) -> None:
        """End the shard, or what the task has started here."""
        if self._process is None:
            super().terminate()
        else:
            self._process.terminate()

    def deliver(self, item: Any) -> None:
        """Hand an item to the strategy: directly, or from a shard through the pipe of all workers."""
        if self._process is None:
            super().deliver(item)
        else:
            self.final_queue.put(item)


class Gathering:
    """The lanes of a step that have not been started yet."""

    def __init__(self, stock_worker: Any, shards: int, news: News) -> None:
        self._worker = _worker(stock_worker)
        self._shards = shards
        self._news = news
        self._lanes: list[ShardLane] = []

    def wanted(self, hosts: int) -> bool:
        """Tell whether a step of so many hosts may be wide enough."""
        return self._shards > 1 and hosts >= 2 * LEAST_LANES

    def add(self, lane: ShardLane) -> None:
        """Take a lane; it starts with the next ``start``."""
        self._lanes.append(lane)

    def start(self, baton: Baton) -> None:
        """Start what was gathered: in shards if it is enough for two, else in this process."""
        lanes, self._lanes = self._lanes, []
        shards = min(self._shards, len(lanes) // LEAST_LANES)
        if shards < 2:
            for lane in lanes:
                lane.start_here(baton)
            return
        isolation.flush_output()
        ends = mmap.mmap(-1, len(lanes))
        for number in range(shards):
            dealt = range(number, len(lanes), shards)
            worker = self._worker(lanes[number].fields)
            worker.lanes = [lanes[place] for place in dealt]
            for place in dealt:
                lanes[place].deal(worker, ends, place)
            worker.start()


def _worker(stock_worker: Any) -> Any:
    """Return stock's worker class, made to run lanes; it signals, detaches and fails as stock's does."""

    class Shard(stock_worker):  # type: ignore[misc]
        lanes: list[ShardLane]

        def __init__(self, fields: dict[str, Any]) -> None:
            super().__init__(**fields)

        def _run(self) -> None:
            display.set_queue(self._final_q)
            isolation.divide_output()
            baton = Baton()
            ended = threading.Semaphore(0)
            for lane in self.lanes:
                lane.start_in_shard(baton, ended)
            with baton.lent():
                for _ in self.lanes:
                    ended.acquire()

    return Shard
