"""Tell what differs between two runs of the same playbook."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from .masks import mask, mask_text
from .runner import Event, Run

_ABSENT = "<absent>"
_SHOWN_CHARACTERS = 1500
_MESSAGE_START = re.compile(r"(?=\[(?:WARNING|DEPRECATION WARNING|ERROR)\])|(?=\bfatal: )")


@dataclass(frozen=True)
class Difference:
    """One value that is not the same in run `a` and run `b`; `path` leads to it inside the result."""

    task: str
    host: str
    path: str
    a: Any
    b: Any

    def __str__(self) -> str:
        return f"{self.host} | {self.task} | {self.path}\n    a: {_shown(self.a)}\n    b: {_shown(self.b)}"


def run_differences(a: Run, b: Run) -> Iterator[Difference]:
    """Yield what differs between two runs: exit code, events, and messages on stderr.

    Messages are compared as a set: hosts that run side by side warn in any order.
    """
    if a.rc != b.rc:
        yield Difference("", "", "rc", a.rc, b.rc)
    yield from event_differences(a.events, b.events)
    ours, theirs = _messages(a.stderr), _messages(b.stderr)
    for text in sorted(ours - theirs):
        yield Difference("", "", "stderr", text, _ABSENT)
    for text in sorted(theirs - ours):
        yield Difference("", "", "stderr", _ABSENT, text)


def event_differences(a: Sequence[Event], b: Sequence[Event]) -> Iterator[Difference]:
    """Yield what differs between two lists of events, host by host, in each host's own order."""
    hosts_a, hosts_b = _by_host(a), _by_host(b)
    for host in sorted(hosts_a.keys() | hosts_b.keys()):
        yield from _host_differences(hosts_a.get(host, []), hosts_b.get(host, []))


def value_differences(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, a, b) for each place where two JSON values differ. `True` is not 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys(), key=str):
            inner = f"{path}.{key}" if path else str(key)
            yield from value_differences(a.get(key, _ABSENT), b.get(key, _ABSENT), inner)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from value_differences(left, right, f"{path}[{index}]")
    elif type(a) is not type(b) or a != b:
        yield path, a, b


def _host_differences(a: list[Event], b: list[Event]) -> Iterator[Difference]:
    """Pair the events of one host; an event without a partner is a difference of its own."""
    keys_a = [(event.kind, event.task) for event in a]
    keys_b = [(event.kind, event.task) for event in b]
    for tag, a_from, a_to, b_from, b_to in SequenceMatcher(None, keys_a, keys_b, False).get_opcodes():
        if tag == "equal":
            for left, right in zip(a[a_from:a_to], b[b_from:b_to], strict=True):
                for path, was, now in value_differences(mask(left.result), mask(right.result)):
                    yield Difference(left.task, left.host, path, was, now)
            continue
        for event in a[a_from:a_to]:
            yield Difference(event.task, event.host, f"event {event.kind}", mask(event.result), _ABSENT)
        for event in b[b_from:b_to]:
            yield Difference(event.task, event.host, f"event {event.kind}", _ABSENT, mask(event.result))


def _by_host(events: Sequence[Event]) -> dict[str, list[Event]]:
    hosts = defaultdict(list)
    for event in events:
        hosts[event.host].append(event)
    return hosts


def _messages(stderr: str) -> set[str]:
    """Split stderr into its warnings and errors, free of line wrapping."""
    unwrapped = " ".join(stderr.split())
    return {mask_text(text.strip()) for text in _MESSAGE_START.split(unwrapped) if text.strip()}


def _shown(value: Any) -> str:
    text = repr(value)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]} ... ({len(text)} characters)"
