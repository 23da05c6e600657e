"""Interpreter discovery and the agent's start in one session.

Stock asks the target which Pythons it has, takes the first, and starts a module with it. The command
line that asks can go on as an agent by that first Python: stock's function still decides and warns.
Up to 2.18 the controller decides by a table of distributions; there discovery stays as it is.
"""

from __future__ import annotations

import functools
import re
import shlex
import uuid
from typing import Any

from ansible import constants
from ansible.plugins import action as action_plugins

from .versions import HAS_PROFILES

# Paths that no shell has to be protected from.
PLAIN_PATH = re.compile(r"/[\w./+-]+")


class Discovery:
    """One discovery on one connection."""

    def __init__(self, names: list[str], first_stage: str) -> None:
        self.key = uuid.uuid4().hex
        self._names = names
        self._first_stage = first_stage
        commands = "; ".join(f"command -v '{name}'" for name in names)
        # As stock words it; in other words it is not recognised and runs alone.
        self._question = _inside_quotes(f"echo FOUND; {commands}; echo ENDFOUND")

    def asks(self, line: str) -> bool:
        """Tell whether a command line is stock's question."""
        return self._question in line

    def line(self, asking: str) -> str:
        """Return the command line that asks and then goes on as an agent."""
        names = " ".join(shlex.quote(name) for name in self._names)
        start = f'exec "$p" -c {shlex.quote(self._first_stage)}'
        choose = f'for n in {names}; do p=$(command -v "$n"); case "$p" in /*) {start};; esac; done'
        return f"{asking}; exec /bin/sh -c {shlex.quote(choose)}"

    def start_line(self, asking: str, answer: str) -> str | None:
        """Return what starts the agent that now runs: shells wrap it as they wrapped the question."""
        found = next((word for word in answer.splitlines() if word.startswith("/")), "")
        if not PLAIN_PATH.fullmatch(found):
            return None
        return asking.replace(self._question, _inside_quotes(f"{found} -c {shlex.quote(self._first_stage)}"))


def install(first_stage: str) -> None:
    """Let our connections know when stock begins to discover."""
    if not HAS_PROFILES:
        return
    stock_discover = action_plugins.discover_interpreter

    @functools.wraps(stock_discover)
    def discover_interpreter(action: Any, interpreter_name: str, discovery_mode: str, task_vars: Any) -> Any:
        connection = action._connection
        if getattr(connection, "slipstream", False):
            names = constants.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=task_vars)
            connection.slipstream_discovery = Discovery(list(names), first_stage)
        return stock_discover(action, interpreter_name, discovery_mode, task_vars)

    action_plugins.discover_interpreter = discover_interpreter


def _inside_quotes(command: str) -> str:
    return shlex.quote(command)[1:-1]
