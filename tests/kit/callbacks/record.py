"""Callback plugin that writes each event of a run as one JSON line, with the whole result.

Works on ansible-core 2.16 to 2.21: `_result`, `_host` and `_task` exist in all of them.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped,import-not-found,unused-ignore]

DOCUMENTATION = """
    name: record
    type: notification
    short_description: write events as JSON lines to the file that SLIPSTREAM_TEST_EVENTS names
    description: Private to the tests of Slipstream.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc,no-any-unimported,unused-ignore]
    """Append events to the file in `SLIPSTREAM_TEST_EVENTS`, flushed one by one."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        self._file = open(os.environ["SLIPSTREAM_TEST_EVENTS"], "a", buffering=1)  # noqa: SIM115

    def _write(self, kind: str, result: Any) -> None:
        self._write_line(kind, result._host.get_name(), result._task.get_name(), result._result)

    def _write_line(self, kind: str, host: str, task: str, result: Any) -> None:
        line = {"kind": kind, "host": host, "task": task, "result": result}
        self._file.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("failed, ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write("unreachable", result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._write("item ok", result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._write("item failed", result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        self._write("item skipped", result)

    def v2_runner_retry(self, result: Any) -> None:
        self._write("retry", result)

    def v2_playbook_on_notify(self, handler: Any, host: Any) -> None:
        self._write_line("notify", host.get_name(), handler.get_name(), {})

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for host in sorted(stats.processed):
            self._write_line("stats", host, "", stats.summarize(host))
