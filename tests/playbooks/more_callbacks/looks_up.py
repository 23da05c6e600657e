"""A callback that looks something up, in the process of the playbook."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import lookup_loader

DOCUMENTATION = """
    name: looks_up
    type: notification
    short_description: shows what a lookup of a third party has counted
    description: Private to the tests of Slipstream.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """What the loader asks for."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "looks_up"
    CALLBACK_NEEDS_ENABLED = False

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Count items: they are told as the worker says them, not when the strategy takes its results."""
        self._display.display(f"counted {lookup_loader.get('unruly').run(['counts'], {})}")
