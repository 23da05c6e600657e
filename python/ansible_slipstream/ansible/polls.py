"""Polls of a job that is waited for (``async`` with ``poll``): one that finds it running is no quicker than stock's.

Stock asks `async` / `poll` times, whatever the clock says, and each of its polls takes its own time on top of the
interval. A job that ends late, or whose wrapper is about to say that its time is over, gets its answer in that time.
Ours take hardly any: they would give such a job up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible.constants import DEFAULT_KEEP_REMOTE_FILES
from ansible.executor.task_executor import TaskExecutor

from ..client import Json
from .lanes import baton


@dataclass(frozen=True)
class Pace:
    """What a poll takes under stock: so many seconds, and so many times as long as ours, for its round trips."""

    seconds: float
    ours: float

    def rest_s(self, took_s: float) -> float:
        """Return how much longer stock's would have taken than ours."""
        return min(self.seconds + (self.ours - 1) * took_s, LONGEST_S)


# Estimates, no measurements: a warm task of stock takes 0.16 to 0.3 s nearby, and three of our round trips or more.
PIPELINED = Pace(0.2, 4)
BY_FILES = Pace(0.4, 8)
LONGEST_S = 3.0

_stock_poll = TaskExecutor._poll_async_result


def install() -> None:
    """Put the hook in place; a second time changes nothing."""
    TaskExecutor._poll_async_result = _poll_async_result


def _poll_async_result(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Let stock poll, and the connection know that it does."""
    connection = self._connection
    if not getattr(connection, "slipstream", False):
        return _stock_poll(self, *args, **kwargs)
    connection.slipstream_polls = True
    try:
        return _stock_poll(self, *args, **kwargs)
    finally:
        connection.slipstream_polls = False


def paced(connection: Any, status: Callable[[], Json]) -> Json:
    """Return what ``status`` says of a job, and not before stock would where the job goes on."""
    started = time.monotonic()
    answer = status()
    if _is_last(answer):
        # What stock still has to ask is to clean up.
        connection.slipstream_polls = False
    elif connection.slipstream_objection() is None and not DEFAULT_KEEP_REMOTE_FILES:
        pace = PIPELINED if connection.slipstream_would_pipeline() else BY_FILES
        # Of a job's end nobody tells: this waits as stock's loop does around it, while other hosts go on.
        baton.pause(pace.rest_s(time.monotonic() - started))
    return answer


def _is_last(answer: Json) -> bool:
    """Tell whether stock asks no more after this answer; one that can't be read may be half written."""
    return bool(
        answer.get("finished") or answer.get("skipped") or (answer.get("failed") and answer.get("_ansible_parsed"))
    )
