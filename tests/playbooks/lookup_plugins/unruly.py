"""Does what a lookup may do in stock's worker: each term is one of its misdeeds, and gives a word of what came of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

display = Display()
display.warning("unruly is imported")

calls = 0


def _stay(ready: Any) -> None:
    """Be there until a signal comes, which a worker's handler would give to the worker as well."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ready.set()
    signal.pause()


class LookupModule(LookupBase):  # type: ignore[misc]
    """What the loader asks for."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Do all that the terms say."""
        return [getattr(self, f"_{term}")(variables, **kwargs) for term in terms]

    def _changes(self, variables: Any) -> str:
        variables["shared"]["looked_up"] = variables["inventory_hostname"]
        variables["groups"]["lanes"].append("nobody")
        return str(variables["shared"])

    def _counts(self, _variables: Any) -> int:
        global calls
        calls += 1
        return calls

    def _alarms(self, _variables: Any) -> str:
        """Be interrupted in a wait; only a main thread can set a handler."""
        woken = threading.Event()
        signal.signal(signal.SIGALRM, lambda *_: woken.set())
        signal.setitimer(signal.ITIMER_REAL, 0.25)
        return f"woken {woken.wait(20)}"

    def _leads(self, _variables: Any) -> str:
        """Tell what a worker is in its session."""
        return f"session {os.getsid(0) == os.getpid()} group {os.getpgid(0) == os.getpid()}"

    def _meets(self, _variables: Any, place: str, first: bool) -> str:
        """Wait for the lookup of another host, but not for long."""
        signal.alarm(20)
        with open(place, "w" if first else "r") as fifo:
            return f"wrote {fifo.write('hello')}" if first else f"read {fifo.read()}"

    def _prints(self, _variables: Any) -> str:
        print("a word of a lookup")
        return "printed"

    def _asks(self, _variables: Any) -> str:
        return display.prompt_until("well? ", seconds=1).decode()  # type: ignore[no-any-return]

    def _greets(self, variables: Any) -> str:
        return display.prompt_until(f"who is {variables['inventory_hostname']}? ").decode()  # type: ignore[no-any-return]

    def _fails(self, _variables: Any) -> str:
        raise RuntimeError("as told")

    def _runs(self, _variables: Any, command: str) -> int:
        return subprocess.run(command, shell=True, check=False).returncode

    def _descends(self, _variables: Any) -> str:
        """Tell what multiprocessing says of a worker, and whose standard input it has."""
        started = multiprocessing.parent_process() is not None, multiprocessing.current_process().daemon
        return f"{started} {multiprocessing.active_children()} {sys.stdin is sys.__stdin__} {sys.stdin.closed or sys.stdin.read()}"

    def _leaves(self, _variables: Any) -> int:
        """Start a process that multiprocessing ends with the one that started it."""
        fork = multiprocessing.get_context("fork")
        ready = fork.Event()
        left = fork.Process(target=_stay, args=(ready,), daemon=True)
        left.start()
        assert ready.wait(20) and left.pid
        return left.pid

    def _computes(self, _variables: Any, place: str) -> str:
        """Say who computes, and never wait for anything."""
        with open(place, "w") as fifo:
            print(os.getpid(), file=fifo)
        while True:
            pass

    def _exits(self, _variables: Any, number: int = 3) -> str:
        os._exit(number)

    def _kills(self, _variables: Any, number: int) -> str:
        os.kill(os.getpid(), number)
        return "still there"
