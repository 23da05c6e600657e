"""Stand-in for callbacks that print one document at the end (community.general.json and its kin)."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped,import-not-found,unused-ignore]

DOCUMENTATION = """
    name: json_like
    type: stdout
    short_description: all results in one JSON document
    description: Private to the tests of Slipstream.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc,no-any-unimported,unused-ignore]
    """Collects every event by any name, and prints all of them with the statistics."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "json_like"

    def __init__(self) -> None:
        super().__init__()
        self._plays: list[dict[str, Any]] = []

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._plays.append({"play": play.get_name(), "tasks": []})

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._plays[-1]["tasks"].append({"name": task.get_name(), "path": task.get_path(), "hosts": {}})

    v2_playbook_on_handler_task_start = v2_runner_on_start = lambda self, *_: None

    def _keep(self, kind: str, result: Any, **more: Any) -> None:
        cleaned = self._clean_results(result._result, result._task.action) or result._result
        hosts = self._plays[-1]["tasks"][-1]["hosts"]
        hosts.setdefault(result._host.name, []).append({"kind": kind, **more, **cleaned})

    def v2_runner_on_ok(self, result: Any) -> None:
        self._keep("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._keep("failed", result, ignored=ignore_errors)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._keep("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._keep("unreachable", result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._keep("item ok", result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._keep("item failed", result)

    def v2_runner_retry(self, result: Any) -> None:
        self._keep("retry", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        recap = {host: stats.summarize(host) for host in sorted(stats.processed)}
        document = {"plays": self._plays, "stats": recap}
        self._display.display(json.dumps(document, indent=4, sort_keys=True, default=str))
