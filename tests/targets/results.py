"""How targets ended, and how two ends compare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Json = dict[str, Any]
COUNTS = ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored")
RECAP = re.compile(r"^\S+\s+: " + r"\s+".join(rf"{name}=(\d+)" for name in COUNTS), re.MULTILINE)
WRONG = re.compile(r"(fatal|failed|unreachable): \[|.*UNREACHABLE!|\[ERROR\]|ERROR!|Traceback|.*AssertionError|FAIL")


@dataclass(frozen=True)
class Outcome:
    """One run of one target."""

    passed: bool
    # Wall time of the target, and CPU time of everything in the sandbox.
    seconds: float
    cpu: float
    # Sessions that the sandbox's sshd began.
    sessions: int
    # Sums of all recaps, in the order of COUNTS.
    recap: list[int]
    # What it failed of; empty if it passed.
    reason: str
    # Modules that Slipstream has run.
    tickets: int = 0

    @classmethod
    def of(cls, result: Json, text: str, timed_out: bool) -> Outcome:
        """Judge what the sandbox wrote and the target printed."""
        passed = result["code"] == 0
        recap = [sum(map(int, column)) for column in zip(*RECAP.findall(text), strict=True)] or [0] * len(COUNTS)
        reason = "" if passed else ("timed out; last: " if timed_out else "") + _reason(text)
        seconds, cpu, sessions, tickets = (result.get(name, 0) for name in ("seconds", "cpu", "sessions", "tickets"))
        return cls(passed, seconds, cpu, sessions, recap, reason, tickets)

    def as_json(self) -> Json:
        """Return it for a file."""
        return asdict(self)


def _reason(text: str) -> str:
    lines = text.splitlines()
    found = ""
    for number, line in enumerate(lines):
        if WRONG.match(line) and not any("...ignoring" in after for after in lines[number + 1 : number + 3]):
            task = next((before for before in reversed(lines[:number]) if before.startswith(("TASK ", "RUNNING "))), "")
            found = f"{task.rstrip(' *')} {line}"
    return (found or next((line for line in reversed(lines) if line.strip()), "no output"))[:400]


def differences(one: Outcome, other: Outcome) -> str:
    """Say where the recaps differ; empty if they don't."""
    pairs = zip(COUNTS, one.recap, other.recap, strict=True)
    return ", ".join(f"{name} {first} and {second}" for name, first, second in pairs if first != second)


def line(name: str, outcomes: Mapping[str, Outcome]) -> str:
    """Return a line for one target."""
    parts = [f"{mode} {'pass' if o.passed else 'FAIL'} {o.seconds:.1f} s" for mode, o in outcomes.items()]
    parts += [f"{mode}: {o.reason}" for mode, o in outcomes.items() if o.reason]
    if len(outcomes) == 2 and all(outcome.passed for outcome in outcomes.values()):
        parts += filter(None, [differences(*outcomes.values())])
    return f"{name}: " + "; ".join(parts)


def summary(found: Mapping[str, Mapping[str, Json]]) -> list[str]:
    """Print totals; return the targets that fail in the last mode, which is the one that is judged."""
    runs = {name: [Outcome(**run) for run in modes.values()] for name, modes in found.items()}
    modes = list(next(iter(found.values()), {}))
    for index, mode in enumerate(modes):
        passed = sum(outcomes[index].passed for outcomes in runs.values())
        print(f"{mode}: {passed} of {len(runs)} pass")
    if len(modes) == 2:
        _compare(modes, {name: o for name, o in runs.items() if o[0].passed and o[1].passed})
    failed = [name for name, outcomes in runs.items() if not outcomes[-1].passed]
    for name in failed:
        kind = "REGRESSION" if runs[name][0].passed else "FAILED"
        print(f"{kind} {name}: {runs[name][-1].reason}")
    return failed


def _compare(modes: list[str], both: Mapping[str, list[Outcome]]) -> None:
    """Print how targets that pass in both modes differ."""
    for name, outcomes in both.items():
        if unlike := differences(*outcomes):
            print(f"recaps differ: {name}: {unlike}")
    for what in ("seconds", "cpu", "sessions"):
        one, other = (sum(getattr(outcomes[i], what) for outcomes in both.values()) for i in (0, 1))
        print(f"{what}, where both pass: {modes[0]} {one:.0f}, {modes[1]} {other:.0f}")
    print(f"modules run by Slipstream: {sum(o[1].tickets for o in both.values())}, in", end=" ")
    print(f"{sum(o[1].tickets > 0 for o in both.values())} of {len(both)} targets")
