"""Keeps apart what worker processes kept apart: display, stray output, sessions, questions to the controller."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import io
import locale
import os
import signal
import subprocess
import sys
import time
from typing import Any

from ansible import constants
from ansible.executor import task_executor
from ansible.plugins.connection import ssh as stock_ssh
from ansible.utils.display import Display

from ..versions import CORE, HAS_PROFILES
from . import baton
from .news import LaneTime

# Workers have a session of their own, and what they print by themselves becomes a warning, from here on.
WORKERS_ARE_DETACHED = HAS_PROFILES
# Who says one of these has a place in mind for the command.
OWN_WAYS = frozenset({"start_new_session", "process_group", "preexec_fn"})
# Workers ask the controller to add hosts and groups.
WORKERS_ASK = CORE >= (2, 21)


@functools.cache
def install() -> None:
    """Put the divisions in place; they do nothing outside of lanes."""
    _divide_display()
    _yield_in_sleeps()
    if not HAS_PROFILES:
        _divide_variables()
    if WORKERS_ASK:
        _answer_directly()
    _divide_commands()
    if WORKERS_ARE_DETACHED:
        divide_output()


def lane_of_code() -> Any:
    """Return the lane whose code this thread is in; what it delivers to the controller is not its code."""
    lane: Any = baton.current()
    return None if lane is None or lane.delivering else lane


def _divide_display() -> None:
    """What a lane displays goes through its queue, as a worker's does."""

    def get(self: Any) -> Any:
        lane = lane_of_code()
        return lane.queue if lane is not None else self.__dict__.get("_final_q")

    def put(self: Any, value: Any) -> None:
        self.__dict__["_final_q"] = value

    stock_set_queue = Display.set_queue

    @functools.wraps(stock_set_queue)
    def set_queue(self: Any, final_queue: Any) -> None:
        if lane_of_code() is None:
            stock_set_queue(self, final_queue)

    Display._final_q = property(get, put)
    Display.set_queue = set_queue


def _divide_variables() -> None:
    """Let a template that changes what is in ``vars`` change its lane's; values by other names are copies anyway."""
    from ansible.template.vars import AnsibleJ2Vars

    stock_getitem = AnsibleJ2Vars.__getitem__

    @functools.wraps(stock_getitem)
    def getitem(self: Any, name: str) -> Any:
        value = stock_getitem(self, name)
        lane = lane_of_code()
        if name == "vars" and lane is not None and lane.own_vars is not value and isinstance(value, dict):
            for key in value:
                value[key] = _own_containers(value[key])
            lane.own_vars = value
        return value

    AnsibleJ2Vars.__getitem__ = getitem


def _own_containers(value: Any) -> Any:
    """Copy dictionaries and lists, however deep; nothing else can be changed in place."""
    if isinstance(value, dict):
        made = copy.copy(value)
        for key in made:
            made[key] = _own_containers(made[key])
        return made
    if isinstance(value, list):
        copied = copy.copy(value)
        copied[:] = map(_own_containers, value)
        return copied
    return value


def _yield_in_sleeps() -> None:
    """Retries, pauses and asynchronous jobs sleep: other lanes run meanwhile."""
    lane_time = LaneTime()
    task_executor.time = lane_time
    stock_ssh.time = lane_time


def _answer_directly() -> None:
    """A lane is in the process that it would ask, and has the baton: it may do it itself."""
    inventory_rpc = importlib.import_module("ansible._internal._worker._inventory_rpc").InventoryRPC
    stock_get_client = inventory_rpc.get_client

    class Direct:
        def __getattr__(self, name: str) -> Any:
            # A task keeps its client, and may move between two questions.
            if lane_of_code() is None:
                return getattr(stock_get_client(), name)
            return getattr(inventory_rpc, name).__wrapped__

    def get_client() -> Any:
        lane = lane_of_code()
        return stock_get_client() if lane is None or lane.pid is not None else Direct()

    inventory_rpc.get_client = staticmethod(get_client)


def divide_output() -> None:
    """Keep what lanes print by themselves apart, where stock keeps a worker's."""
    if WORKERS_ARE_DETACHED:
        for name in ("stdout", "stderr"):
            # Closed ones are None, and treated as such.
            if (stream := getattr(sys, name)) is not None:
                setattr(sys, name, _Divided(stream, name))


class _Divided:
    """A standard stream: a lane's own text, the terminal for everybody else."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        lane = lane_of_code()
        return getattr(self._stream if lane is None else lane.stray[self._name], attribute)


def flush_output() -> None:
    """Write out what was displayed so far, as every fork of a worker does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.flush()


class ProcessState:
    """Working folder, umask, environment, locale and time zone of this process, and what globals keep, which a worker
    has for itself.
    """

    def __init__(self) -> None:
        self._folder, self._environment = _folder(), dict(os.environb)
        os.umask(umask := os.umask(0o077))
        self._umask = umask
        self._locale, self._zone = locale.setlocale(locale.LC_ALL), _zone()
        # ansible-core's lookup `url` installs one.
        self._opener = getattr(sys.modules.get("urllib.request"), "_opener", None)

    def for_command(self) -> dict[str, Any]:
        """Return it as arguments of ``Popen``; without the folder where that is so anyway: it may not be entered."""
        folder = {} if self._folder == _folder() else {"cwd": self._folder}
        return {**folder, "env": dict(self._environment), "umask": self._umask}

    def restore(self) -> None:
        """Make them what they were."""
        os.umask(self._umask)
        if "urllib.request" in sys.modules:
            setattr(sys.modules["urllib.request"], "_opener", self._opener)  # noqa: B010 - of a module that may be missing
        if getattr(stock_ssh, "SSHPASS_AVAILABLE", None) is False:
            # Each worker looks whether there is one.
            stock_ssh.SSHPASS_AVAILABLE = None
        if self._folder is not None and _folder() != self._folder:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        zone = os.environb.get(b"TZ")
        if os.environb != self._environment:
            os.environb.clear()
            os.environb.update(self._environment)
        if locale.setlocale(locale.LC_ALL) != self._locale:
            with contextlib.suppress(locale.Error):
                # Its files may have gone.
                locale.setlocale(locale.LC_ALL, self._locale)
        # The C library may have looked at the environment by itself.
        if _zone() != self._zone or zone != self._environment.get(b"TZ"):
            time.tzset()


def _zone() -> tuple[object, ...]:
    """Return what ``time.tzset`` has made of the environment last."""
    return time.tzname, time.timezone, time.altzone


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        # It was removed.
        return None


def stray_output() -> dict[str, io.StringIO]:
    """Return where a lane's own prints go."""
    return {"stdout": io.StringIO(), "stderr": io.StringIO()}


def _divide_commands() -> None:
    """Start a lane's commands as a worker would have: in its folder, with its environment, in a session of its own.

    A command that a lane waits for starts when others may run, and the process is no longer as it was for that lane.
    """
    stock_init: Any = subprocess.Popen.__init__

    @functools.wraps(stock_init)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        lane = lane_of_code()
        if lane is None:
            stock_init(self, *args, **kwargs)
            return
        own = _missing(lane.for_command(), len(args), kwargs)
        if not WORKERS_ARE_DETACHED or OWN_WAYS & kwargs.keys():
            stock_init(self, *args, **own, **kwargs)
            return
        with lane.starting_process():
            stock_init(self, *args, **_session(lane.task_vars), **_streams(len(args), kwargs), **own, **kwargs)
            lane.children.append(self)

    setattr(subprocess.Popen, "__init__", init)  # noqa: B010 - an assignment would have to lie about types


# The places of Popen's arguments; the umask has none.
_PLACES = {"stdin": 3, "stdout": 4, "stderr": 5, "cwd": 9, "env": 10, "umask": 99}


def _streams(count: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a worker's own streams, which lead nowhere, for those that are left out.

    Stock's task queue manager has those of this process closed for every command.
    """
    return _missing(dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL), count, kwargs)


def _missing(defaults: dict[str, Any], count: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the ``defaults`` that ``count`` arguments and ``kwargs`` leave out, and take them out of these."""
    missing = {name: value for name, value in defaults.items() if count <= _PLACES[name] and kwargs.get(name) is None}
    for name in missing:
        kwargs.pop(name, None)
    return missing


def _session(task_vars: dict[str, Any]) -> dict[str, Any]:
    try:
        isolated = constants.config.get_config_value("WORKER_SESSION_ISOLATION", variables=task_vars)
    except Exception:
        # No such choice in this version: always.
        isolated = True
    return {"start_new_session": True} if isolated else {"process_group": 0}


def end_children_on_signals(lanes: Any, in_worker: bool = False) -> None:
    """End the lanes' commands where stock's handler ends the workers, or the worker. In the main thread only."""
    for number in (signal.SIGTERM, signal.SIGINT):
        stock_handler = signal.getsignal(number)
        if in_worker and stock_handler is signal.SIG_DFL:
            stock_handler = _end_process
        if not callable(stock_handler) or isinstance(stock_handler, _Ending):
            continue
        if stock_handler is not signal.default_int_handler:
            signal.signal(number, _Ending(stock_handler, lanes))


def _end_process(number: int, _frame: Any) -> None:
    """Do what a signal does that nobody handles."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


# Signals that came while a command was starting.
_postponed: set[int] = set()


def repeat_postponed() -> None:
    """Let the signals come again that came while a command was starting."""
    while _postponed:
        os.kill(os.getpid(), _postponed.pop())


class _Ending:
    """A signal handler before stock's. A command that is starting has no process id yet by which to end it."""

    def __init__(self, stock_handler: Any, lanes: Any) -> None:
        self._stock_handler = stock_handler
        self._lanes = lanes
        self._pid = os.getpid()

    def __call__(self, number: int, frame: Any) -> None:
        lanes = list(self._lanes)
        for lane in lanes:
            lane.start_no_more()
        # In this order: a lane that has just started its command may look for signals meanwhile.
        _postponed.add(number)
        if any(lane.starting for lane in lanes):
            return
        _postponed.discard(number)
        if os.getpid() != self._pid:
            # A worker that has no handlers of its own yet: stock's handler takes it for the playbook.
            _end_process(number, frame)
        try:
            for lane in lanes:
                lane.end_children(number)
        finally:
            self._stock_handler(number, frame)


def end_group(process: Any, number: int) -> None:
    """Send a signal to a command and what it has started; to it alone if it leads no group."""
    if process.poll() is None:
        # It may be gone, or another account's.
        with contextlib.suppress(OSError):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                os.kill(process.pid, number)
