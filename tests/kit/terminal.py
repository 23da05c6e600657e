"""A playbook that talks with somebody at a terminal, who answers by a script."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from .runner import Controller

_DEADLINE_SECONDS = 90.0
_WIDTH = "160"
# Ends a question whose program throws away what was typed before it listens: nothing tells when it does.
LATE = "\f"
_LATE_SECONDS = 0.5


class Silence(Exception):
    """What was waited for did not come; the message has all that was shown."""


def converse(
    controller: Controller, playbook: Path, answers: Sequence[tuple[str, str]], *options: str
) -> tuple[int, str]:
    """Run `playbook` at a terminal of its own; return its exit code and all that the terminal showed.

    Each answer is typed once its question has been shown, after the question before it.
    """
    return _at_terminal(controller, playbook, options, lambda terminal: _answer(terminal, answers))


def converse_in_any_order(
    controller: Controller, playbook: Path, question: re.Pattern[str], *options: str
) -> tuple[int, str]:
    """As `converse`; each question that matches is answered with its first group."""
    return _at_terminal(controller, playbook, options, lambda terminal: _answer_each(terminal, question))


def _at_terminal(
    controller: Controller, playbook: Path, options: Sequence[str], answer: Callable[[int], str]
) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *controller.command(playbook, *options)],
            cwd=playbook.parent,
            env={**controller.environment(), "TERM": "dumb", "COLUMNS": _WIDTH},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    try:
        shown = answer(ours)
        return process.wait(_DEADLINE_SECONDS), shown
    finally:
        # The terminal's end ends what still runs on it.
        os.close(ours)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _answer(terminal: int, answers: Sequence[tuple[str, str]]) -> str:
    shown, seen = "", 0
    for marked, answer in answers:
        question = marked.removesuffix(LATE).replace("\n", "\r\n")
        while (at := shown.find(question, seen)) < 0:
            more = _read(terminal, shown)
            if not more:
                raise Silence(f"{question!r} was not asked: {shown}")
            shown += more
        while marked.endswith(LATE) and select.select([terminal], [], [], _LATE_SECONDS)[0]:
            shown += _read(terminal, shown)
        seen = at + len(question)
        os.write(terminal, answer.encode())
    while more := _read(terminal, shown):
        shown += more
    return shown.replace("\r\n", "\n")


def _answer_each(terminal: int, question: re.Pattern[str]) -> str:
    shown, seen = "", 0
    while more := _read(terminal, shown):
        shown += more
        while found := question.search(shown, seen):
            seen = found.end()
            # As for `LATE`.
            while select.select([terminal], [], [], _LATE_SECONDS)[0]:
                shown += _read(terminal, shown)
            os.write(terminal, f"{found[1]}\r".encode())
    return shown.replace("\r\n", "\n")


def _read(terminal: int, shown: str) -> str:
    """Return what is shown next; nothing at the end."""
    if not select.select([terminal], [], [], _DEADLINE_SECONDS)[0]:
        raise Silence(shown)
    try:
        return os.read(terminal, 65536).decode(errors="backslashreplace")
    except OSError:
        # A terminal that nobody holds open any more.
        return ""
