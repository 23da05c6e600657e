"""This process's connection to the daemon, and the run that it belongs to."""

from __future__ import annotations

import os
import threading
import uuid
import weakref

from ansible import constants
from ansible.utils.display import Display

from ..client import Client, Link
from ..errors import DaemonError
from ..settings import BadSetting, Settings, read
from .lanes import baton

display = Display()


class Run:
    """One ``ansible-playbook``: its workers inherit it, its lease ends with its main process."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self._pid = os.getpid()
        self._lease: Client | None = None
        # A worker must not keep the lease open when the main process dies.
        os.register_at_fork(after_in_child=self._forget_lease)

    def begin(self) -> None:
        """Start the daemon if there is none, and hold the run open; in the main process only.

        Cheap when done before; a daemon that has ended meanwhile is replaced.

        Raises:
            DaemonError: no daemon can be had.
        """
        if os.getpid() != self._pid or (self._lease is not None and self._lease.is_open()):
            return
        self._take_lease()

    def follow(self, daemon_pid: int) -> None:
        """Hold the run open at the daemon that this process has just reached, if that is a new one.

        A killed daemon's sockets close one by one: its lease may look open when a task has met its end.
        """
        if os.getpid() == self._pid and self._lease is not None and self._lease.daemon_pid != daemon_pid:
            self._take_lease()

    def _take_lease(self) -> None:
        lease = Client(settings())
        lease.ask("lease", run=self.id)
        self._lease = lease

    def _forget_lease(self) -> None:
        self._lease = None


_clients = threading.local()
_open_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_settings: Settings | None = None
RUN = Run()


def settings() -> Settings:
    """Return the settings of this process, read once."""
    global _settings
    if _settings is None:
        try:
            _settings = read(constants.CONFIG_FILE)
        except BadSetting as error:
            display.warning(f"Slipstream is off: {error}.")
            _settings = Settings(enabled=False)
    return _settings


def client() -> Client:
    """Return this thread's channel to the daemon.

    Raises:
        DaemonError: no daemon can be had.
    """
    # Before anything is sent: the successor needs what clean-up code would remove.
    baton.refuse_what_has_left()
    held: tuple[int, Client] | None = getattr(_clients, "held", None)
    # A channel that a fork has copied is the parent's.
    if held is None or held[0] != os.getpid() or not held[1].is_open():
        held = _clients.held = (os.getpid(), Client(settings(), waiting=baton.waiting))
        _open_clients.add(held[1])
        RUN.follow(held[1].daemon_pid)
    return held[1]


def _close_inherited() -> None:
    """In a new worker: the daemon must notice when the process of the playbook is gone."""
    for inherited in list(_open_clients):
        inherited.close()
    _open_clients.clear()


os.register_at_fork(after_in_child=_close_inherited)


def drop_client() -> None:
    """Forget a channel whose daemon has gone, or on which a reply may still be under way."""
    _clients.held = None


def count_stock(reason: str) -> None:
    """Tell the daemon that a module runs through stock Ansible, and why."""
    display.debug(f"slipstream: stock Ansible runs this module: {reason}")
    try:
        client().ask("stock", reason=reason)
    except DaemonError:
        # Counting is a courtesy; the task runs all the same.
        drop_client()


def count_bytes(link: Link, up: int, down: int) -> None:
    """Tell the daemon how much stock's ssh has moved over a link."""
    try:
        client().count_bytes(link, up, down)
    except DaemonError:
        # Counting is a courtesy, as above.
        drop_client()
