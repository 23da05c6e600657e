"""A lane that goes on in a worker process, from the middle of its task.

Lookups of third parties may change the variables they are given, need the main thread, wait for what another host's
task does, or end the process. Stock runs them in a worker; so do we: where a lane is about to load one, it forks,
and stock's worker goes on in the child as if it had run the task from its beginning. So it does for filters and tests
that need the main thread, and, where other hosts would have to wait, for all that wait for commands or the network.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from multiprocessing import popen_fork, process, util
from typing import Any, NoReturn

from ansible.executor.process import worker as stock_module
from ansible.plugins.loader import lookup_loader
from ansible.utils.display import Display

from ..versions import HAS_PROFILES
from . import baton, isolation
from .choice import CORE_PREFIXES, NEEDS_MAIN_THREAD, WAITS, imports, is_third_party_lookup

if HAS_PROFILES:
    from ansible._internal._templating._jinja_plugins import JinjaPluginIntercept
else:
    from ansible.template import JinjaPluginIntercept

display = Display()

# Lookups of ansible-core that wait for a command or a server.
WAITING_LOOKUPS = frozenset(f"{prefix}{name}" for prefix in CORE_PREFIXES for name in ("lines", "pipe", "url"))


def watch_lookups() -> None:
    """Let a lane move before it loads a lookup that is not ansible-core's, or that keeps other hosts waiting."""
    stock_get = lookup_loader.get

    @functools.wraps(stock_get)
    def get(name: str, *args: Any, **kwargs: Any) -> Any:
        lane = isolation.lane_of_code()
        if lane is not None and (
            (lane.has_others and name in WAITING_LOOKUPS) or is_third_party_lookup(name, kwargs.get("collection_list"))
        ):
            lane.move()
        return stock_get(name, *args, **kwargs)

    lookup_loader.get = get


def watch_filters() -> None:
    """Let a lane move before a template gets a filter or a test that needs the main thread, or keeps others waiting."""
    stock_get = JinjaPluginIntercept.__getitem__

    @functools.wraps(stock_get)
    def get(self: Any, key: str) -> Any:
        found = stock_get(self, key)
        lane = isolation.lane_of_code()
        if lane is not None:
            loader = self._plugin_loader if HAS_PROFILES else self._pluginloader
            if imports(NEEDS_MAIN_THREAD, loader, key) or (lane.has_others and imports(WAITS, loader, key)):
                lane.move()
        return found

    JinjaPluginIntercept.__getitem__ = get


class _Fork(popen_fork.Popen):
    """What ``multiprocessing`` knows a process by; the fork returns in the child, too.

    A child forgets the signals that come before Python has set it up: they wait, until the child takes them.
    """

    def _launch(self, _process: Any) -> None:
        ours, its = os.pipe()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        self.is_here = False
        try:
            self.pid = os.fork()
            self.is_here = self.pid == 0
        finally:
            if not self.is_here:
                self.take_signals()
        if self.is_here:
            os.close(ours)
            # Open until the process ends.
            self.pid, self.sentinel = os.getpid(), its
        else:
            os.close(its)
            self.sentinel = ours
            self.finalizer = util.Finalize(self, os.close, (ours,))

    def take_signals(self) -> None:
        """Let those come that have waited."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


class Successor(stock_module.WorkerProcess):  # type: ignore[misc]
    """Stock's worker, without its work: that of a lane which has begun already."""

    @staticmethod
    def _Popen(process_object: Any) -> _Fork:
        return _Fork(process_object)

    @property
    def is_here(self) -> bool:
        """Tell whether this is the process that was started."""
        return bool(self._popen.is_here)

    def enter(self, lane: Any) -> None:
        """Become stock's worker with ``lane`` as its work; in the process that was started, which keeps no lanes."""
        # As multiprocessing's own start in a child.
        process._children.clear()  # type: ignore[attr-defined]
        process._current_process = self  # type: ignore[attr-defined]
        process._parent_process = process._ParentProcess(  # type: ignore[attr-defined]
            self._parent_name, self._parent_pid, None
        )
        util._finalizer_registry.clear()  # type: ignore[attr-defined]
        util._close_stdin()  # type: ignore[attr-defined]
        util._run_after_forkers()  # type: ignore[attr-defined]
        streams = sys.stdout, sys.stderr
        # Everything that comes before the work: session, streams, signals.
        self.run()
        if sys.version_info >= (3, 13) and lane.has_others:
            self._end_on_signals()
        # A shard's.
        signal.set_wakeup_fd(-1)
        self._popen.take_signals()
        if isolation.WORKERS_ARE_DETACHED:
            for name, text in lane.stray.items():
                getattr(sys, name).write(text.getvalue())
        else:
            # Stock has them closed after the work.
            sys.stdout, sys.stderr = streams
        baton.leave()
        display._final_q = self._final_q

    @staticmethod
    def _end_on_signals() -> None:
        """Leave signals that end a worker to the system.

        In the fork of a thread, Python 3.13 and later run no handler before a signal interrupts a wait.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)

    def _run(self) -> None:
        """Leave the work to the lane."""

    def end(self, code: int) -> NoReturn:
        """End the process that was started, and what it has started."""
        try:
            threading._shutdown()  # type: ignore[attr-defined]
            util._exit_function()  # type: ignore[attr-defined]
            if isolation.WORKERS_ARE_DETACHED:
                util._flush_std_streams()  # type: ignore[attr-defined]
        finally:
            os._exit(code)
