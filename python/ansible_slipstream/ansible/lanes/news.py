"""Wakes a strategy, or a shard, when there is something to look at; stock looks every millisecond."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from . import baton

# Only so that no wait is without end: whatever a strategy waits for tells us.
LONGEST_WAIT_S = 1.0
# The free strategy also makes progress of its own between two of its sleeps.
LONGEST_FREE_WAIT_S = 0.01


class News:
    """A pipe that can be read once something has happened."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def tell(self) -> None:
        """Wake whoever waits; safe in any thread."""
        # A full pipe wakes as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")

    def wake_on_signals(self) -> None:
        """Let a signal end the main thread's waits, whichever thread the system gives it to."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def wait(self, sentinels: Iterable[int], longest_s: float | None) -> None:
        """Wait until something has happened or one of these processes has ended; None waits as long as that takes."""
        poll = select.poll()
        for descriptor in (self._read, *sentinels):
            poll.register(descriptor, select.POLLIN)
        poll.poll(None if longest_s is None else longest_s * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 65536)


class Watched(deque[Any]):
    """Results that tell when one comes."""

    news: News

    def append(self, item: Any) -> None:
        """Take a result, as stock's results thread does."""
        super().append(item)
        self.news.tell()


class StrategyTime:
    """Stands for the module ``time`` in a strategy: its sleep ends with the first news."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        self._wait = wait

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        """Wait for news; without anything under way, as long as stock would sleep at most."""
        self._wait(seconds)


class LaneTime:
    """Stands for the module ``time`` where a task sleeps: other lanes run meanwhile."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait as long as the task says, and let others run."""
        baton.pause(seconds)


def watch(strategy: Any, news: News) -> None:
    """Let a strategy's results, and its workers' questions, wake it; a second time changes nothing."""
    if isinstance(strategy._results, Watched):
        return
    with strategy._results_lock:
        results = Watched(strategy._results)
        results.news = news
        strategy._results = results
    questions = getattr(strategy, "_rpc_queue", None)
    if questions is not None:
        stock_put = questions.put

        def put(*args: Any, **kwargs: Any) -> None:
            stock_put(*args, **kwargs)
            news.tell()

        questions.put = put
