"""What is read out of ssh's arguments: the same few strings, many times for every task."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import types
from collections.abc import Callable, Sequence
from typing import Any

from ansible.plugins.connection import ssh as stock_ssh

# The options that stock looks for a wish for a terminal in, and what it has found.
OPTIONS = ("ssh_args", "ssh_common_args", "ssh_extra_args")
_asks_for_tty: dict[tuple[str | None, ...], bool] = {}
# Where options may be that are not among the arguments.
CONFIGURATIONS = ("~/.ssh/config", "/etc/ssh/ssh_config")
# An option about masters, in the same word as -o or in one of its own.
_CONTROL = re.compile(rb"(?:-o)?\s*(control(?:master|path|persist))\s*[= ]\s*\"?([^\"\s]*)", re.IGNORECASE)
# How ssh ends a terminal's session that went over a master.
_SHARED = re.compile(rb"^Shared connection to (?=\S+ closed\.\r\n\Z)", re.MULTILINE)


def install() -> None:
    """Spare each ssh connection a parser, which stock makes from 2.19 on and only its own commands use."""
    if hasattr(stock_ssh, "argparse"):
        stock_ssh.argparse = types.SimpleNamespace(**vars(argparse) | {"ArgumentParser": _DeferredParser})


@functools.lru_cache(256)
def split(arguments: str) -> tuple[str, ...]:
    """Split a string of arguments as stock does."""
    return tuple(stock_ssh.Connection._split_ssh_args(arguments))


def ask_for_tty(get_option: Callable[[str], str | None], stock: Callable[[], bool]) -> bool:
    """Tell whether the options ask for a terminal, as ``stock`` finds it; it looks at these options only."""
    texts = tuple(get_option(name) for name in OPTIONS)
    if texts not in _asks_for_tty:
        _asks_for_tty[texts] = stock()
    return _asks_for_tty[texts]


def split_sshpass(cmd: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return sshpass with its arguments, and the command that it would run."""
    if cmd and cmd[0] == b"sshpass":
        # -d with the descriptor in the same word, then perhaps -P with the prompt behind it.
        at = 4 if cmd[2] == b"-P" else 2
        return list(cmd[:at]), list(cmd[at:])
    return [], list(cmd)


def last_words(command: Sequence[bytes], stderr: bytes) -> bytes:
    """Return the standard error of an ssh over our link as it ends for stock, whose ssh may have no master."""
    if not _SHARED.search(stderr) or _shares_connection(command):
        return stderr
    return _SHARED.sub(b"Connection to ", stderr)


def _shares_connection(command: Sequence[bytes]) -> bool:
    """Tell whether ssh, called so, would find the master that it has left; what can't be told counts as yes."""
    # Of two, ssh takes the first.
    found = [match.groups() for word in reversed(command) if (match := _CONTROL.fullmatch(word))]
    given = {name.lower(): value.lower() for name, value in found}
    if given.get(b"controlpath") == b"none" or given.get(b"controlmaster") == b"no":
        return False
    if persists := given.get(b"controlpersist"):
        return persists != b"no"
    return any(word.startswith(b"-F") for word in command) or any(map(_names_master, CONFIGURATIONS))


@functools.cache
def _names_master(path: str) -> bool:
    with contextlib.suppress(OSError), open(os.path.expanduser(path), "rb") as file:
        return b"controlmaster" in file.read().lower()
    return False


class _DeferredParser:
    """An argument parser that is made when it is asked for something."""

    def __init__(self) -> None:
        self._arguments: list[tuple[Any, Any]] = []

    def add_argument(self, *args: Any, **kwargs: Any) -> None:
        """Remember an argument."""
        self._arguments.append((args, kwargs))

    def __getattr__(self, name: str) -> Any:
        parser = argparse.ArgumentParser()
        for args, kwargs in self._arguments:
            parser.add_argument(*args, **kwargs)
        return getattr(parser, name)
