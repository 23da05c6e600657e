"""Lets workers that have sent their last result end by themselves.

At the end of a play stock ends those that are left: where one is still about to run its exit handlers, or to end what
it has started, that stays undone. Stock comes there late enough for most of them; we come earlier.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterable
from multiprocessing import connection
from typing import Any

from ansible.executor.task_queue_manager import TaskQueueManager

# One that takes longer is ended, as under stock.
LONGEST_S = 0.5


def watch_ends_of_plays() -> None:
    """Put the wait before stock's clean-up."""
    stock_clean_up = TaskQueueManager._cleanup_processes

    @functools.wraps(stock_clean_up)
    def clean_up(self: Any) -> None:
        # Where the playbook is interrupted, nothing is waited for.
        if sys.exc_info()[0] is None:
            _wait_for(getattr(self, "_workers", ()))
        stock_clean_up(self)

    TaskQueueManager._cleanup_processes = clean_up


def _wait_for(workers: Iterable[Any]) -> None:
    alive = {worker.sentinel for worker in workers if worker is not None and worker.is_alive()} - {None}
    deadline = time.monotonic() + LONGEST_S
    while alive and (rest_s := deadline - time.monotonic()) > 0:
        alive -= set(connection.wait(alive, rest_s))
