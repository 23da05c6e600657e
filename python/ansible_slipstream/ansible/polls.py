"""Polls of a job that is waited for (``async`` with ``poll``): a job has as long as stock's polls leave it.

Stock asks `async` / `poll` times, whatever the clock says, and each of its polls takes its own time on top of the
interval. Ours take hardly any: a job that ends late, or whose wrapper is about to say that its time is over, is asked
for a while longer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ansible.executor.task_executor import TaskExecutor

from ..client import Json

# What a poll takes under stock, on a target nearby.
STOCKS_POLL_S = 0.4
# The wrapper looks every five seconds whether a job's time is over.
LONGEST_S = 10.0

_stock_poll = TaskExecutor._poll_async_result


class Polls:
    """The polls of one job."""

    def __init__(self, limit_s: float, interval_s: float) -> None:
        self._interval_s = interval_s
        self._left = math.ceil(limit_s / interval_s)
        self._longer_s = min(self._left * STOCKS_POLL_S, LONGEST_S)

    def ask(self, status: Callable[[], Json]) -> Json:
        """Return what ``status`` answers; at stock's last poll, not before the job has had its time."""
        self._left -= 1
        answer = status()
        while self._left <= 0 < self._longer_s and not _is_last(answer):
            wait_s = min(self._interval_s, self._longer_s)
            self._longer_s -= wait_s
            time.sleep(wait_s)
            answer = status()
        if _is_last(answer):
            # What stock still has to ask is to clean up.
            self._longer_s = 0
        return answer


def _is_last(answer: Json) -> bool:
    """Tell whether stock asks no more after this answer; one that can't be read may be half written."""
    return bool(
        answer.get("finished") or answer.get("skipped") or (answer.get("failed") and answer.get("_ansible_parsed"))
    )


def install() -> None:
    """Put the hook in place; a second time changes nothing."""
    TaskExecutor._poll_async_result = _poll_async_result


def _poll_async_result(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Let stock poll, and the connection know how often it will."""
    connection, task = self._connection, self._task
    if not getattr(connection, "slipstream", False):
        return _stock_poll(self, *args, **kwargs)
    connection.slipstream_polls = Polls(task.async_val, task.poll)
    try:
        return _stock_poll(self, *args, **kwargs)
    finally:
        connection.slipstream_polls = None
