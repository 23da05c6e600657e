"""Plugins that stock's process of the playbook would not know of: its workers find and import them, each for itself.

Lanes share that process's loaders, and what is imported early is there for all. So what came that way gives way: to a
plugin of the same name from another file, to newer code, to what has come into a folder, and to the next task's
warnings.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible.plugins.loader import PluginLoader, filter_loader, lookup_loader, test_loader

from .. import IMPORTED_BY_STOCK
from ..versions import HAS_PROFILES
from . import isolation
from .choice import CORE_FOLDER, forget_plugins

# Of these the process of the playbook may have used none when a worker looks for one.
LATE = (lookup_loader, filter_loader, test_loader)
# Plugins that we import as soon as we are there; `ansible-playbook` does so itself before that, `ansible` does not.
EARLY = ("ansible.plugins.become.", "ansible.plugins.connection.", "ansible.plugins.shell.")

State = tuple[int, int, int] | None


@dataclass(frozen=True)
class _Imported:
    """A module that is there for our sake only, and its file as it was then."""

    loader: Any
    path: str
    state: State

    def is_as_then(self) -> bool:
        return self.path.startswith(CORE_FOLDER) or _state(self.path) == self.state


_ours: dict[str, _Imported] = {}
_early = False
# Loaders that the process of the playbook itself has used since they were cleared: its workers inherit that.
_settled: set[Any] = set()
# Loaders whose last import has warned or failed, with what they had imported: stock says so in each task's result.
_noisy: dict[Any, set[str]] = {}
# Folders as they were when they were searched last.
_folders: dict[Any, list[tuple[str, State]]] = {}


def watch_loaders() -> None:
    """Let what is ours give way, wherever plugins are loaded."""
    for name in sys.modules.keys() - IMPORTED_BY_STOCK:
        if name.startswith(EARLY):
            _ours[name] = _Imported(None, str(sys.modules[name].__file__), None)
    stock_load, stock_clear = PluginLoader._load_module_source, PluginLoader._clear_caches

    @functools.wraps(stock_load)
    def load(self: Any, *args: Any, **kwargs: Any) -> Any:
        name, path = _name_and_path(self, *args, **kwargs)
        known = _ours.get(name)
        if known is not None and not (known.path == path and known.is_as_then()):
            del _ours[name]
            sys.modules.pop(name, None)
        if not _is_ours():
            _ours.pop(name, None)
            return stock_load(self, *args, **kwargs)
        if name not in sys.modules:
            _ours[name] = _Imported(self, path, _state(path))
        with _noting_noise(self, name):
            return stock_load(self, *args, **kwargs)

    @functools.wraps(stock_clear)
    def clear(self: Any) -> None:
        stock_clear(self)
        forget_plugins()
        _settled.discard(self)

    PluginLoader._load_module_source = load
    PluginLoader._clear_caches = clear
    for loader in LATE:
        if loader._searched_paths or getattr(loader, "_cached_non_collection_wrappers", None):
            # While it read the playbook.
            _settled.add(loader)
        for name in ("find_plugin_with_context",) if loader is lookup_loader else ("get_with_context", "all"):
            setattr(loader, name, _settling(loader, getattr(loader, name)))


@contextlib.contextmanager
def ahead_of_workers() -> Iterator[None]:
    """Load plugins that stock's workers would load; not in a lane."""
    global _early
    _early = True
    try:
        yield
    finally:
        _early = False


def forget_what_changed() -> None:
    """Let loaders search and import anew if a file or a folder of theirs has changed; before each task."""
    for loader in LATE:
        if loader in _settled:
            continue
        folders = [(path, _state(path)) for path in loader._get_paths() if not path.startswith(CORE_FOLDER)]
        mine = [imported for imported in _ours.values() if imported.loader is loader]
        if _folders.get(loader) != folders or not all(imported.is_as_then() for imported in mine):
            _folders[loader] = folders
            loader._clear_caches()


def forget_noise() -> None:
    """Let loaders warn again of what they have warned of; before each lane."""
    for loader in [loader for loader in _noisy if loader not in _settled]:
        for name in _noisy.pop(loader):
            if _ours.pop(name, None) is not None:
                sys.modules.pop(name, None)
        loader._clear_caches()


def _is_ours() -> bool:
    """Tell whether what is loaded now would be loaded by a worker under stock."""
    return _early or isolation.lane_of_code() is not None


def _settling(loader: Any, stock: Callable[..., Any]) -> Callable[..., Any]:
    """Let the process of the playbook, or a worker, begin without what lanes have found."""

    @functools.wraps(stock)
    def ask(*args: Any, **kwargs: Any) -> Any:
        if loader not in _settled and not _is_ours():
            loader._clear_caches()
            _settled.add(loader)
        return stock(*args, **kwargs)

    return ask


@contextlib.contextmanager
def _noting_noise(loader: Any, name: str) -> Iterator[None]:
    before = _warnings()
    quiet = False
    try:
        yield
        quiet = _warnings() == before
    finally:
        if HAS_PROFILES and not quiet:
            _noisy.setdefault(loader, set()).add(name)


def _warnings() -> int:
    """Return how many warnings wait for the task's result."""
    if not HAS_PROFILES:
        return 0
    from ansible._internal._display_utils import DeferredWarningContext

    context = DeferredWarningContext.current(optional=True)
    return 0 if context is None else len(context.get_warnings()) + len(context.get_deprecation_warnings())


def _name_and_path(loader: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    """Return the module's name and its file; up to 2.18 the loader is given a part of the name."""
    if HAS_PROFILES:
        return kwargs["python_module_name"], kwargs["path"]
    given = dict(zip(("name", "path"), args, strict=False)) | kwargs
    name = given["name"]
    return name if name.startswith("ansible_collections.") else f"{loader.package}.{name}", given["path"]


def _state(path: str) -> State:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
