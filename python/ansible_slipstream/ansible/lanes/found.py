"""What a lane finds out for itself, and a worker would have lost at its end.

Asking for the variables of a host that is not in the play reads its files; stock's process of the playbook reads them
when it comes to that host, and not before. A name of this machine that is in no inventory becomes a host.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

from ansible.inventory.data import InventoryData
from ansible.vars.manager import VariableManager

from . import isolation

# The vars plugin of ansible-core, as the loader imports it, and where it keeps what it has found.
FILES_OF_HOSTS = "ansible.plugins.vars.host_group_vars"
KEPT = ("CANONICAL_PATHS", "FOUND", "NAK")


def divide_what_is_found() -> None:
    """Let lanes keep to themselves what they find."""
    stock_get_vars, stock_create = VariableManager.get_vars, InventoryData._create_implicit_localhost

    @functools.wraps(stock_get_vars)
    def get_vars(self: Any, *args: Any, **kwargs: Any) -> Any:
        lane = isolation.lane_of_code()
        if lane is None or lane.found.used:
            return stock_get_vars(self, *args, **kwargs)
        with lane.found.in_place(self):
            return stock_get_vars(self, *args, **kwargs)

    @functools.wraps(stock_create)
    def create(self: Any, pattern: str) -> Any:
        lane = isolation.lane_of_code()
        if lane is None or self.localhost is not None:
            return stock_create(self, pattern)
        if lane.found.localhost is None:
            lane.found.localhost = stock_create(self, pattern)
            self.localhost = None
        return lane.found.localhost

    VariableManager.get_vars = get_vars
    InventoryData._create_implicit_localhost = create


@contextlib.contextmanager
def aside(hostvars: Any) -> Iterator[None]:
    """Ask for a host's variables in the process of the playbook as a lane would, and forget what was found."""
    inventory, manager = hostvars._inventory._inventory, hostvars._variable_manager
    localhost = inventory.localhost
    try:
        with Found(manager._loader).in_place(manager):
            yield
    finally:
        inventory.localhost = localhost


class Found:
    """What one lane has found, on top of what is known to all."""

    def __init__(self, loader: Any) -> None:
        self.files: dict[str, Any] = _Dict(loader._FILE_CACHE)
        self.localhost: Any = None
        self.used = False
        self._kept: dict[str, Any] = {}

    @contextlib.contextmanager
    def in_place(self, manager: Any) -> Iterator[None]:
        """Let stock's code find and keep here what it is asked for by a manager of variables."""
        plugin: Any = sys.modules.get(FILES_OF_HOSTS)
        # One of the same name may keep what it likes.
        found: dict[str, Any] = {name: getattr(plugin, name, None) for name in KEPT}
        kept = {name: known for name, known in found.items() if type(known) in (dict, set)}
        facts = _facts_read(manager)
        before = frozenset(facts)
        loader, files = manager._loader, manager._loader._FILE_CACHE
        for name, known in kept.items():
            if name not in self._kept:
                self._kept[name] = _Set(known) if isinstance(known, set) else _Dict(known)
            setattr(plugin, name, self._kept[name])
        loader._FILE_CACHE = self.files
        self.used = True
        try:
            yield
        finally:
            self.used = False
            loader._FILE_CACHE = files
            for name, known in kept.items():
                setattr(plugin, name, known)
            for host in facts.keys() - before:
                del facts[host]


def _facts_read(manager: Any) -> dict[str, Any]:
    """Return what a fact cache has read from its files."""
    cache = getattr(manager._fact_cache, "_plugin", manager._fact_cache)
    return cache._cache if hasattr(cache, "_cache_dir") else {}


class _Dict(dict[Any, Any]):
    """A dictionary on top of another one, which stays as it is."""

    def __init__(self, below: dict[Any, Any]) -> None:
        super().__init__()
        self._below = below

    def __missing__(self, key: Any) -> Any:
        return self._below[key]

    def __contains__(self, key: Any) -> bool:
        return super().__contains__(key) or key in self._below


class _Set(set[Any]):
    """A set on top of another one, which stays as it is."""

    def __init__(self, below: set[Any]) -> None:
        super().__init__()
        self._below = below

    def __contains__(self, key: Any) -> bool:
        return super().__contains__(key) or key in self._below
