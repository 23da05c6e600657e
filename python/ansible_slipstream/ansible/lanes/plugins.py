"""Lookups, filters and tests: the loaders forget what a worker would have found and loaded for itself alone.

Each of stock's workers searches their folders anew and imports what it finds; the process of the playbook hardly ever
does. A role may bring a plugin in the place of one that lanes have used, and a task may write one into a folder that
lanes have searched.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from ansible.plugins.loader import PluginLoader, filter_loader, lookup_loader, test_loader

from . import isolation
from .choice import CORE_FOLDER, forget_plugins

# Modules that lanes have imported, by the loader that did it.
_imported: dict[Any, set[str]] = {loader: set() for loader in (lookup_loader, filter_loader, test_loader)}
# Folders as they were when they were searched last.
_folders: dict[Any, list[tuple[str, int | None]]] = {}


def watch_loaders() -> None:
    """Note what lanes import, and drop it when a loader forgets what it has found."""
    stock_load, stock_clear = PluginLoader._load_module_source, PluginLoader._clear_caches

    @functools.wraps(stock_load)
    def load(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = frozenset(sys.modules)
        module = stock_load(self, *args, **kwargs)
        if self in _imported and module.__name__ not in before and isolation.lane_of_code() is not None:
            _imported[self].add(module.__name__)
        return module

    @functools.wraps(stock_clear)
    def clear(self: Any) -> None:
        stock_clear(self)
        if self in _imported:
            forget_plugins()
            for name in _imported[self]:
                sys.modules.pop(name, None)
            _imported[self].clear()

    PluginLoader._load_module_source = load
    PluginLoader._clear_caches = clear


def forget_what_changed() -> None:
    """Let loaders search anew if something has come into a folder, or has gone; before each task."""
    for loader in _imported:
        folders = [(path, _changed_at(path)) for path in loader._get_paths() if not path.startswith(CORE_FOLDER)]
        if _folders.get(loader) != folders:
            _folders[loader] = folders
            loader._clear_caches()


def _changed_at(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
