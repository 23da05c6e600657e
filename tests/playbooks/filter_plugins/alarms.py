"""A filter that needs the main thread."""

from __future__ import annotations

import signal
import threading
from typing import Any


def alarmed(value: str) -> str:
    """Wait for a signal; only a main thread can set a handler."""
    woken = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: woken.set())
    signal.setitimer(signal.ITIMER_REAL, 0.25)
    return f"{value} {woken.wait(20)}"


class FilterModule:
    """What the loader asks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters."""
        return {"alarmed": alarmed}
