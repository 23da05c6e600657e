"""Switching Slipstream on: one idempotent function behind three doors (``doors.py``)."""

from __future__ import annotations

import functools
from typing import Any

from ansible.plugins import strategy as strategy_plugins
from ansible.plugins.connection import local as stock_local
from ansible.plugins.connection import ssh as stock_ssh
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display

from ..errors import DaemonError
from . import discovery, options, polls, runtime, seams, settled, shown, ssh_arguments, ticket, warmup
from .accelerated import FIRST_STAGE
from .lanes.choice import is_of_core
from .lanes.factory import Factory
from .lanes.plugins import ahead_of_workers
from .local import LocalConnection
from .ssh import SshConnection

display = Display()

_state = {"installed": False, "active": False}


def activate() -> bool:
    """Replace the seams; a second call changes nothing. Returns whether Slipstream is on.

    On an ansible-core whose seams are not as tested, or with Slipstream switched off, everything
    stays stock and is said once at -v.
    """
    if _state["installed"]:
        return _state["active"]
    _state["installed"] = True
    if not runtime.settings().enabled:
        display.v("Slipstream is switched off; stock Ansible runs everything.")
        return False
    moved = seams.moved()
    if moved:
        display.v(f"Slipstream does not know this ansible-core ({'; '.join(moved)}); stock Ansible runs everything.")
        return False
    ticket.install()
    polls.install()
    discovery.install(FIRST_STAGE)
    shown.install()
    settled.install()
    _wrap_loader()
    ssh_arguments.install()
    _wrap_worker()
    _state["active"] = True
    return True


def accelerated(stock: type) -> type:
    """Return our connection class over a stock one.

    It keeps stock's module and name: plugin type and options are looked up by them.
    """
    return _accelerated(stock, SshConnection if issubclass(stock, stock_ssh.Connection) else LocalConnection)


@functools.cache
def _accelerated(stock: type, mixin: type) -> type:
    return type(stock.__name__, (mixin, stock), {"__module__": stock.__module__})


def _wrap_loader() -> None:
    """Give our classes out where stock's ssh and local connections are asked for, by any name."""
    stock_get = connection_loader.get_with_context

    @functools.wraps(stock_get)
    def get_with_context(name: str, *args: Any, **kwargs: Any) -> Any:
        found = stock_get(name, *args, **kwargs)
        connection = found.object
        # Exactly the stock classes: what a third party made of them, maybe under their names, is not ours to change.
        stock = any(type(connection) is module.Connection and is_of_core(module) for module in (stock_ssh, stock_local))
        if not (_state["active"] and stock) or getattr(connection._shell, "_IS_WINDOWS", False):
            return found
        return found._replace(object=_take_over(connection))

    connection_loader.get_with_context = get_with_context


def _take_over(connection: Any) -> Any:
    """Return one of our connections in the state of a stock one."""
    ours: Any = object.__new__(accelerated(type(connection)))
    ours.__dict__ = connection.__dict__
    options.declare(ours._load_name)
    ours.slipstream_prepare()
    return ours


def _wrap_worker() -> None:
    """Give lanes out in the place of workers; before the first, hold the run open and load what all need."""
    stock_worker = strategy_plugins.WorkerProcess
    settings = runtime.settings()
    factory = Factory(stock_worker, settings.lanes, settings.shards)
    factory.install()
    warm_up = functools.cache(warmup.warm_up)

    @functools.wraps(stock_worker, updated=())
    def worker(*args: Any, **kwargs: Any) -> Any:
        if _state["active"]:
            try:
                runtime.RUN.begin()
                with ahead_of_workers():
                    warm_up()
            except DaemonError as error:
                _state["active"] = False
                display.warning(f"Slipstream is off for this run: {error}")
        return (factory.make if _state["active"] else stock_worker)(*args, **kwargs)

    strategy_plugins.WorkerProcess = worker
