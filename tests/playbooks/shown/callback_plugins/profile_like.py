"""Stand-in for callbacks that time tasks (ansible.posix.profile_tasks and timer)."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.callback.default import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
    CallbackModule as Default,
)

DOCUMENTATION = """
    name: profile_like
    type: stdout
    short_description: the default output with the time of each task
    description: Private to the tests of Slipstream.
    extends_documentation_fragment: [default_callback, result_format_callback]
"""


class CallbackModule(Default):  # type: ignore[misc,no-any-unimported,unused-ignore]
    """Prints how long each task took when the next one begins, and a table at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "profile_like"

    def __init__(self) -> None:
        super().__init__()
        self._began: dict[str, float] = {}
        self._names: list[str] = []

    def _tick(self, name: str) -> None:
        now = time.monotonic()
        if self._names:
            self._display.display(f"{self._names[-1]} took {now - self._began[self._names[-1]]:.2f}s")
        self._names.append(name)
        self._began[name] = now

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._tick(f"{task.get_name()} {task.get_path()}")
        super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._tick(f"handler {task.get_name()}")
        super().v2_playbook_on_handler_task_start(task)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._tick("recap")
        super().v2_playbook_on_stats(stats)
        for name in self._names:
            self._display.display(f"{name:-<60} {self._began[name]:.2f}s")
