"""Differences that are expected, each with its reason. Nothing else may differ."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .compare import Difference


@dataclass(frozen=True)
class Known:
    """An expected difference; all but `reason` are regular expressions for the whole text.

    `stock` is what run a has there.
    """

    topic: str
    task: str
    path: str
    reason: str
    stock: str = r"(?s:.*)"

    def explains(self, topic: str, difference: Difference) -> bool:
        """Tell whether this entry accounts for `difference` in playbook `topic`."""
        return (
            re.fullmatch(self.topic, topic) is not None
            and re.fullmatch(self.task, difference.task) is not None
            and re.fullmatch(self.path, difference.path) is not None
            and re.fullmatch(self.stock, str(difference.a)) is not None
        )


KNOWN: tuple[Known, ...] = (
    Known("async", "too slow", "child_pid", "a number of the machine's"),
    Known("flow", "timeout", r"timedout\.frame", "up to 2.18 it names the controller's own stack, which is ours"),
    Known("lanes", "timeout", r"timedout\.frame", "as in flow"),
    Known(
        "failures", "interrupted", "module_stderr", "from 2.19 on without AnsiballZ's frames", r"(?s)Trace.*<stdin>.*"
    ),
    Known("files", "fetch below a file", "exception", "up to 2.18 it shows the controller's own stack, which is ours"),
    Known("modules", "files by nonsense", "exception", "up to 2.18 it shows the controller's own stack, which is ours"),
    Known(".*", ".*", "msg", "stock may find that ssh has ended by writing to it", r".*could not be sent.*Broken pipe"),
)


def unexpected(topic: str, differences: list[Difference]) -> list[Difference]:
    """Return the differences that no entry of `KNOWN` accounts for."""
    return [one for one in differences if not any(known.explains(topic, one) for known in KNOWN)]
