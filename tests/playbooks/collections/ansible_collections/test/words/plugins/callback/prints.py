"""A callback of a third party that prints all there is to see."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: prints
    type: stdout
    short_description: one line for each event
    description: Private to the tests of Slipstream.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Prints every event of a task with what it says."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "test.words.prints"

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith(("v2_runner", "v2_playbook_on_task")):
            return super().__getattribute__(name)

        def event(first: Any, *args: Any, **kwargs: Any) -> None:
            result = getattr(first, "_result", {})
            words = [result.get("stdout"), result.get("msg"), result.get("item")]
            self._display.display(f"{name} {[type(first).__name__, *words]} {args} {kwargs}")

        return event
