"""Python's own warnings, which a process shows once: each of stock's workers shows them for itself.

Two things remember them: the module that is warned of, and the cache of compiled regular expressions, since one that
is there is not looked at again.
"""

from __future__ import annotations

import functools
import re
import sys
import types
import warnings
from typing import Any

from . import isolation

# What lanes have shown since it was forgotten last: text, category, line and file; and how often that was.
_shown: list[tuple[str, Any, int, str]] = []
_forgotten = 0


def watch_warnings() -> None:
    """Note what lanes show; what one would show again because it was forgotten for another it does not show."""
    stock_show: Any = getattr(warnings, "_showwarnmsg", None)
    stock_print: Any = getattr(warnings, "_showwarnmsg_impl", None)
    if stock_show is None or stock_print is None:
        return

    @functools.wraps(stock_show)
    def show(message: Any) -> None:
        lane = isolation.lane_of_code()
        # Who catches warnings wants them all.
        if lane is not None and getattr(warnings, "_showwarnmsg_impl", None) is stock_print:
            known = str(message.message), message.category, message.lineno, message.filename
            _shown.append(known)
            if lane.warned.setdefault(known, _forgotten) != _forgotten:
                return
        stock_show(message)

    warnings._showwarnmsg = show  # type: ignore[attr-defined]


def forget_warned() -> None:
    """Let Python warn again of what lanes have shown; before each lane."""
    global _forgotten
    if not _shown:
        return
    registries = list(_registries({filename for *_, filename in _shown}))
    for text, category, line, filename in _shown:
        warnings.onceregistry.pop((text, category), None)  # type: ignore[attr-defined]
        for file, registry in registries:
            if file == filename:
                for place in (line, 0):
                    registry.pop((text, category, place), None)
    _shown.clear()
    _forgotten += 1
    re.purge()


def _registries(files: set[str]) -> Any:
    """Yield those of the modules that come from these files, with the file.

    By their dictionaries: some are lazy, and some only say that they are modules.
    """
    for module in list(sys.modules.values()):
        if issubclass(type(module), types.ModuleType):
            names = object.__getattribute__(module, "__dict__")
            file, registry = names.get("__file__"), names.get("__warningregistry__")
            if isinstance(file, str) and file in files and isinstance(registry, dict):
                yield file, registry
