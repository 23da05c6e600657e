"""A filter that prints, which a worker turns into a warning from ansible-core 2.19 on."""

from __future__ import annotations

import sys
from typing import Any


def prints(value: str, stream: str) -> str:
    """Print a word."""
    getattr(sys, stream).write(f"stray {value} on {stream}\n")
    return value


class FilterModule:
    """What the loader asks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters."""
        return {"prints": prints}
