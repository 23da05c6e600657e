"""Interpreter discovery and the agent's start in one session.

Stock asks the target which Pythons it has, and takes the first; up to 2.18 it asks that one for the distribution, and
takes what a table has for it. The command line that asks can go on as an agent by the Python that will be chosen:
stock's function still decides and warns, from the same answers.
"""

from __future__ import annotations

import functools
import pkgutil
import re
import shlex
import uuid
import zlib
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.executor import interpreter_discovery
from ansible.plugins import action as action_plugins

from .. import agent
from .versions import HAS_PROFILES

# Paths that no shell has to be protected from.
PLAIN_PATH = re.compile(r"/[\w./+-]+")
# What stock asks before the names, and whether it asks a Python for more.
QUESTION, ASKS_TWICE = ("echo FOUND", False) if HAS_PROFILES else ("echo PLATFORM; uname; echo FOUND", True)
END = "ENDFOUND"


class Discovery:
    """One discovery on one connection."""

    def __init__(self, names: list[str], first_stage: str) -> None:
        self.key = uuid.uuid4().hex
        self._names = names
        self._first_stage = first_stage
        commands = "; ".join(f"command -v '{name}'" for name in names)
        # As stock words it; in other words it is not recognised and runs alone.
        self._question = _inside_quotes(f"{QUESTION}; {commands}; echo {END}")
        self._second_answer: str | None = None

    @property
    def chooser(self) -> bytes:
        """What the first Python runs before the agent; nothing where stock asks once."""
        return _chooser() if ASKS_TWICE else b""

    def asks(self, line: str) -> bool:
        """Tell whether a command line is stock's question."""
        return self._question in line

    def line(self, asking: str) -> str:
        """Return the command line that asks and then goes on as an agent."""
        names = " ".join(shlex.quote(name) for name in self._names)
        start = 'exec "$p" -c "$s"'
        if ASKS_TWICE:
            # What the script has to say beside its answer is not for the modules that the agent will run.
            start = f'a=$("$p" -c "$s" 2>/dev/null); printf "%s\\n" "$a"; case "$a" in /*) p=${{a%% *}};; esac; {start}'
        choose = f'for n in {names}; do p=$(command -v "$n"); case "$p" in /*) {start};; esac; done'
        return f"{asking}; exec /bin/sh -c {shlex.quote(f's={shlex.quote(self._first_stage)}; {choose}')}"

    def take(self, asking: str, printed: str) -> tuple[str, str | None] | None:
        """Return the answer to the question, and what starts the agent that now runs if that is known.

        Shells wrap the start line as they wrapped the question. None for no answer.
        """
        answer, end, rest = printed.partition(f"{END}\n")
        if not end:
            return None
        told, _, noise = (rest if ASKS_TWICE else "").partition("\n")
        path, _, second = told.partition(" ")
        self._second_answer = second if second.startswith("{") and not noise.strip() else None
        if not path.startswith("/"):
            path = next((word for word in answer.splitlines() if word.startswith("/")), "")
        start = None
        if PLAIN_PATH.fullmatch(path):
            start = asking.replace(self._question, _inside_quotes(f"{path} -c {shlex.quote(self._first_stage)}"))
        return answer + end, start

    def second_answer(self, in_data: bytes | None) -> str | None:
        """Return what the target has said already of itself, if stock asks for that."""
        return self._second_answer if ASKS_TWICE and in_data == _script() else None


def install(first_stage: str) -> None:
    """Let our connections know while stock discovers."""
    stock_discover = action_plugins.discover_interpreter

    @functools.wraps(stock_discover)
    def discover_interpreter(action: Any, interpreter_name: str, discovery_mode: str, task_vars: Any) -> Any:
        connection = action._connection
        if not getattr(connection, "slipstream", False):
            return stock_discover(action, interpreter_name, discovery_mode, task_vars)
        names = constants.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=task_vars)
        connection.slipstream_discovery = Discovery(list(names), first_stage)
        try:
            return stock_discover(action, interpreter_name, discovery_mode, task_vars)
        finally:
            connection.slipstream_discovery = None

    action_plugins.discover_interpreter = discover_interpreter


def _table() -> dict[str, dict[str, str]]:
    """Return stock's table with an entry for each distribution that it knows by its family."""
    families = constants.config.get_config_value("_INTERPRETER_PYTHON_DISTRO_MAP")
    known = interpreter_discovery.OS_FAMILY_LOWER.items()
    return {**{name: families[family] for name, family in known if family in families}, **families}


def _script() -> bytes:
    return pkgutil.get_data("ansible.executor.discovery", "python_target.py") or b""


@functools.cache
def _chooser() -> bytes:
    """Return the program that chooses, as the agent's first stage reads one."""
    source = Path(agent.__file__).with_name("chooser.py").read_text(encoding="utf-8")
    plain = {name: {str(version): str(path) for version, path in paths.items()} for name, paths in _table().items()}
    packed = zlib.compress(f"{source}\nmain({_script().decode()!a}, {plain!a})\n".encode())
    return b"%08d%s" % (len(packed), packed)


def _inside_quotes(command: str) -> str:
    return shlex.quote(command)[1:-1]
