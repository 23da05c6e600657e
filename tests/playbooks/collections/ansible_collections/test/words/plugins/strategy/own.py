"""A strategy of a third party: linear, and it says which tasks it queues."""

from __future__ import annotations

from typing import Any

from ansible.plugins.strategy.linear import StrategyModule as Linear

DOCUMENTATION = """
    name: own
    short_description: linear, with a remark
    description: Private to the tests of Slipstream.
"""


class StrategyModule(Linear):  # type: ignore[misc]
    """Hands a variable of its own to every task."""

    def _queue_task(self, host: Any, task: Any, task_vars: dict[str, Any], play_context: Any) -> Any:
        return super()._queue_task(host, task, {**task_vars, "queued_by": f"own for {host.name}"}, play_context)
