"""A callback of a third party that counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: counts
    type: aggregate
    short_description: how many tasks and results there were
    description: Private to the tests of Slipstream.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Counts in the process of the playbook, and says so at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "test.words.counts"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._seen: Counter[str] = Counter()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Count a task."""
        self._seen["tasks"] += 1

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count a result."""
        self._seen["results"] += 1

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Count a result."""
        self._seen["results"] += 1

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Count a result."""
        self._seen["results"] += 1

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Count a result of a loop."""
        self._seen["results"] += 1

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Say what was counted."""
        self._display.display("counted: " + ", ".join(f"{number} {name}" for name, number in self._seen.items()))
