"""Python's own warnings, which a process shows once: each of stock's workers shows them for itself.

Two things remember them: the module that is warned of, and the cache of compiled regular expressions, since one that
is there is not looked at again.
"""

from __future__ import annotations

import functools
import re
import sys
import warnings
from typing import Any

from . import isolation

# What lanes have shown: text, category, line and file.
_shown: list[tuple[str, Any, int, str]] = []


def watch_warnings() -> None:
    """Note what lanes show; one that shows the same once more, because another began meanwhile, does not."""
    stock_show: Any = getattr(warnings, "_showwarnmsg", None)
    if stock_show is None:
        return

    @functools.wraps(stock_show)
    def show(message: Any) -> None:
        lane = isolation.lane_of_code()
        if lane is not None:
            known = str(message.message), message.category, message.lineno, message.filename
            _shown.append(known)
            if known in lane.warned:
                return
            lane.warned.add(known)
        stock_show(message)

    warnings._showwarnmsg = show  # type: ignore[attr-defined]


def forget_warned() -> None:
    """Let Python warn again of what lanes have shown; before each lane."""
    if not _shown:
        return
    files = {filename for *_, filename in _shown}
    modules = [module for module in list(sys.modules.values()) if getattr(module, "__file__", None) in files]
    for text, category, line, filename in _shown:
        warnings.onceregistry.pop((text, category), None)  # type: ignore[attr-defined]
        for module in modules:
            if module.__file__ == filename:
                registry = vars(module).get("__warningregistry__", {})
                for place in (line, 0):
                    registry.pop((text, category, place), None)
    _shown.clear()
    re.purge()
