"""Filters that do to their process what a worker keeps from the playbook's."""

from __future__ import annotations

import locale
import os
import sys
import time
from typing import Any

from ansible.utils.display import Display


def prints(value: str, stream: str) -> str:
    """Print a word."""
    getattr(sys, stream).write(f"stray {value} on {stream}\n")
    return value


def unsettles(folder: str) -> str:
    """Change what a process has of its own."""
    os.environ["UNSETTLED"] = folder
    os.chdir(folder)
    os.umask(0o077)
    os.environ["TZ"] = "XYZ-5"
    time.tzset()
    locale.setlocale(locale.LC_ALL, "POSIX")
    return folder


def looks(value: str) -> str:
    """Tell what locale and time zone a process has."""
    return f"{value} {locale.setlocale(locale.LC_ALL)} {time.strftime('%Z')}"


def asks(question: str) -> str:
    """Ask whoever sits before the playbook."""
    return Display().prompt_until(question, seconds=1).decode()  # type: ignore[no-any-return]


def marks(path: str) -> str:
    """Leave a file that others can see."""
    with open(path, "w"):
        return path


class FilterModule:
    """What the loader asks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters."""
        return {"asks": asks, "looks": looks, "marks": marks, "prints": prints, "unsettles": unsettles}
