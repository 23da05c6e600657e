"""Decides, before anything has run, whether a task may run in a lane on a host."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import ansible
from ansible import constants, context
from ansible.plugins import loader as loaders
from ansible.plugins.loader import (
    action_loader,
    become_loader,
    connection_loader,
    lookup_loader,
    module_loader,
    shell_loader,
    vars_loader,
)
from ansible.utils.display import Display

from .found import aside

display = Display()

# What ansible-core's plugins may be called by.
CORE_PREFIXES = ("", "ansible.builtin.", "ansible.legacy.")
# Connections whose code is known to be safe beside other lanes.
CONNECTIONS = frozenset(
    prefix + name for name in ("ssh", "local") for prefix in (*CORE_PREFIXES, "slipstream.core.")
) | {"smart"}
SHELLS = frozenset(prefix + "sh" for prefix in CORE_PREFIXES)
# Actions of ansible-core that ask the user, or sleep in loops of their own.
EXCLUDED_ACTIONS = frozenset({"pause", "reboot", "wait_for_connection"})
# Signal handlers, the loop of the main thread, connections that belong to the thread that opened them.
NEEDS_MAIN_THREAD = re.compile(r"^\s*(?:import|from)\s[^#\n]*\b(?:asyncio|signal|sqlite3)\b", re.MULTILINE)
# Commands and the network.
WAITS = re.compile(
    r"^\s*(?:import|from)\s[^#\n]*\b(?:subprocess|socket|urllib\.request|http\.client|requests|module_utils\.urls)\b",
    re.MULTILINE,
)
# Methods of the display by which loaders tell what they do.
WORDS_OF_SEARCHES = frozenset({"v", "vv", "vvv", "vvvv"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
CORE_FOLDER = os.path.dirname(os.path.abspath(ansible.__file__)) + os.sep
OUR_FOLDERS = (
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep,
    os.path.join("ansible_collections", "slipstream", "core") + os.sep,
)

# Variables of the hosts that the task is delegated to.
_of_delegates: dict[str, Any] = {}
# What is to be said of action plugins, by name and collections.
_actions: dict[tuple[str, tuple[str, ...]], str | None] = {}
# Files of plugins, by loader, name and collections.
_paths: dict[tuple[Any, str, tuple[str, ...]], str] = {}

# A lane that kept the others waiting for so long without computing: processes would have waited side by side.
BLOCKED_S = 0.1
# What a process costs more than a lane, with a margin; it wins if the processors share more than that.
PROCESS_S = 0.1
# Not less, however many processors there are: the playbook's own process starts the others and takes their results.
LEAST_COMPUTED_S = 0.03
# One lane may have computed what serves all.
LANES_THAT_COMPUTED = 2


class Choice:
    """Remembers which tasks kept the others waiting: they run in processes from then on."""

    def __init__(self, processors: int) -> None:
        self._computed_s = max(PROCESS_S / (processors - 1), LEAST_COMPUTED_S) if processors > 1 else math.inf
        self._blocked: set[str] = set()
        self._moved: set[str] = set()
        self._computed: dict[str, set[str]] = {}

    def note(self, task: Any, host: str, computed_s: float, blocked_s: float) -> None:
        """Take what a lane did while it kept the others waiting: computed in all, and waited at a stretch."""
        if blocked_s > BLOCKED_S:
            self.note_blocked(task)
        elif computed_s > self._computed_s:
            self._computed.setdefault(_place(task), set()).add(host)

    def note_blocked(self, task: Any) -> None:
        """Remember that lanes of this task wait for each other, as where a lookup waits."""
        self._blocked.add(_place(task))

    def note_moved(self, task: Any) -> None:
        """Remember that a lane of this task has moved to a process."""
        self._moved.add(_place(task))

    def computes(self, task: Any) -> bool:
        """Tell whether lanes of this task were seen to compute for long."""
        return bool(self._computed) and len(self._computed.get(_place(task), ())) >= LANES_THAT_COMPUTED

    def reason_to_fork(
        self, strategy: Any, task: Any, task_vars: dict[str, Any], alone: bool, in_shards: bool
    ) -> str | None:
        """Return why a process has to run this task, or None; ``in_shards`` tells that lanes compute side by side."""
        if not is_known_strategy(type(strategy)):
            return "strategy"
        if task.timeout:
            return "timeout"
        if task.async_val:
            return "async"
        if isinstance(task.throttle, str) and "{" in task.throttle:
            # To know how late results come it would have to be templated once more, and may do something.
            return "throttle is a template"
        if task.debugger or strategy.debugger_active or constants.ENABLE_TASK_DEBUGGER:
            return "debugger"
        if self._moved and _place(task) in self._moved:
            return "lookup or filter that wants a process"
        if not alone and vars_need_main_thread():
            return "vars plugin that needs the main thread"
        if not alone and self._blocked and _place(task) in self._blocked:
            return "waits"
        if not alone and not in_shards and self.computes(task):
            return "computes"
        return _connection(task, task_vars) or _action(task)


def _place(task: Any) -> str:
    """Return where a task is written: the same for every host and every turn of an include."""
    return str(task.get_path() or task._uuid)


def is_third_party_lookup(name: str, collections: list[str] | None) -> bool:
    """Tell whether the lookup that stock would load is not ansible-core's."""
    # A plain string, whatever it came from: as stock's loader has it.
    return _is_third_partys(lookup_loader, str.__str__(name), tuple(collections or ()))


def is_of_core(module: Any) -> bool:
    """Tell whether a plugin's module is ansible-core's, and not of the same name."""
    return str(module.__file__).startswith(CORE_FOLDER)


def _is_third_partys(loader: Any, name: str, collections: tuple[str, ...] = ()) -> bool:
    """Tell whether a plugin is there that is not ansible-core's; one that is not there may come."""
    place = loader, name, collections
    if place not in _paths:
        with _quietly():
            found = loader.find_plugin_with_context(name, collection_list=list(collections) or None)
        if not found.plugin_resolved_path:
            return False
        _paths[place] = str(found.plugin_resolved_path)
    return not _paths[place].startswith(CORE_FOLDER)


@functools.cache
def imports(what: re.Pattern[str], loader: Any, name: str) -> bool:
    """Tell whether a filter or test of a third party imports one of those modules."""
    path = None
    with contextlib.suppress(Exception):
        # One of Jinja's own is not there.
        path = loader.get(name)._original_path
    return path is not None and _imports(what, path)


@functools.cache
def vars_need_main_thread() -> bool:
    """Tell whether that holds for a vars plugin that stock's process of the playbook has loaded."""
    plugins = [vars_loader.get(name) for name in list(vars_loader._plugin_instance_cache or ())]
    return any(_imports(NEEDS_MAIN_THREAD, plugin._original_path) for plugin in plugins if plugin is not None)


@functools.lru_cache(256)
def _imports(what: re.Pattern[str], path: str) -> bool:
    if path.startswith(CORE_FOLDER):
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return what.search(file.read()) is not None


def forget_delegates() -> None:
    """Ask once more for the variables of hosts that tasks are delegated to; before each task."""
    _of_delegates.clear()


def forget_plugins() -> None:
    """Ask once more where plugins are: another may have come in the place of one."""
    _paths.clear()
    _actions.clear()
    imports.cache_clear()
    vars_need_main_thread.cache_clear()
    _imports.cache_clear()


def is_known_strategy(strategy: type) -> bool:
    """Tell whether a strategy is all stock's and ours."""
    files = (getattr(sys.modules.get(kind.__module__), "__file__", None) or "" for kind in strategy.__mro__[:-1])
    return all(file.startswith((CORE_FOLDER, OUR_FOLDERS[0])) or OUR_FOLDERS[1] in file for file in files)


def _is_known(loader: Any, name: Any, allowed: frozenset[str]) -> bool:
    """Tell whether a plugin's name is one of those, and what is loaded by it is no one else's."""
    if not isinstance(name, str) or name not in allowed:
        return False
    name = "ssh" if name == "smart" else str.__str__(name).removeprefix("ansible.legacy.")
    return "." in name or not _is_third_partys(loader, name)


def _connection(task: Any, task_vars: dict[str, Any]) -> str | None:
    """Return an objection to the connection, which may be another host's."""
    if task.delegate_to:
        name = task.delegate_to
        if not isinstance(name, str) or "{" in name:
            return "delegate_to is a template"
        try:
            variables = _variables_of(name, task_vars)
        except Exception:
            # Stock's worker says what is wrong with them, as the task's failure.
            return "variables that can't be read"
        default = "local" if name in LOCAL_NAMES else task.connection
    else:
        variables, default = task_vars, task.connection
    connection = _setting("ansible_connection", variables, task_vars)
    if not _is_known(connection_loader, default if connection is None else connection, CONNECTIONS):
        return "connection"
    if not _is_known(shell_loader, _setting("ansible_shell_type", variables, task_vars) or "sh", SHELLS):
        return "shell"
    return _become(task, task_vars, variables)


def _setting(name: str, variables: Any, task_vars: dict[str, Any]) -> Any:
    """Return a variable's value for a task: that of the task itself, its blocks, role or play wins."""
    value = task_vars.get(name)
    if variables is task_vars or value is None:
        return variables.get(name)
    is_hosts_own = value == _variables_of(str(task_vars.get("inventory_hostname")), task_vars).get(name)
    return variables.get(name) if is_hosts_own else value


def _become(task: Any, *variables: Any) -> str | None:
    """Return an objection to a become plugin that may be used; not to one whose name is a template."""
    names = [known.get("ansible_become_method") for known in variables]
    for name in (task.become_method, context.CLIARGS.get("become_method"), constants.DEFAULT_BECOME_METHOD, *names):
        if not isinstance(name, str) or "{" in name:
            continue
        # By its file: stock's process of the playbook does not import it.
        name = str.__str__(name)
        if _is_third_partys(become_loader, name) and _imports(NEEDS_MAIN_THREAD, _paths[become_loader, name, ()]):
            return "become plugin that needs the main thread"
    return None


def _variables_of(name: str, task_vars: dict[str, Any]) -> Any:
    """Return the variables of the host that a task is delegated to, untemplated; stock's workers ask for them."""
    hostvars: Any = task_vars.get("hostvars")
    if hostvars is None:
        return {}
    if name not in _of_delegates:
        with aside(hostvars):
            _of_delegates[name] = hostvars.raw_get(name) if name in hostvars else {}
    return _of_delegates[name]


def _action(task: Any) -> str | None:
    """Return an objection to the action plugin that stock would take."""
    name, collections = task.action, task.collections
    if not isinstance(name, str) or "{" in name:
        return "action is a template"
    if name.rpartition(".")[2].split("_")[0] in constants.NETWORK_GROUP_MODULES:
        return "network"
    place = str.__str__(name), tuple(collections or ())
    if place not in _actions:
        with _quietly():
            path, is_for_good = _path_of_action(name, collections)
        if not is_for_good:
            return _objection_to_action(path)
        _actions[place] = _objection_to_action(path)
    return _actions[place]


def _path_of_action(name: str, collections: Any) -> tuple[str, bool]:
    """Look an action plugin up as stock does; that a module is not there may change."""
    module = module_loader.find_plugin_with_context(name, collection_list=collections)
    if module.resolved and module.action_plugin:
        name = module.action_plugin
    elif not action_loader.has_plugin(name, collection_list=collections):
        name, collections = "ansible.legacy.normal", None
    found = action_loader.find_plugin_with_context(name, collection_list=collections)
    return found.plugin_resolved_path or "", bool(module.resolved)


def _objection_to_action(path: str) -> str | None:
    if not path.startswith(CORE_FOLDER):
        return "action plugin of a third party"
    action = os.path.splitext(os.path.basename(path))[0]
    return f"action {action}" if action in EXCLUDED_ACTIONS else None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Search without words: stock says where it is redirected to when it searches itself."""
    loaders.display = _Quiet()
    try:
        yield
    finally:
        loaders.display = display


class _Quiet:
    """The display for loaders, of which other threads need theirs meanwhile."""

    def __getattr__(self, name: str) -> Any:
        return self._say_nothing if name in WORDS_OF_SEARCHES else getattr(display, name)

    def _say_nothing(self, *_args: Any, **_kwargs: Any) -> None:
        pass
