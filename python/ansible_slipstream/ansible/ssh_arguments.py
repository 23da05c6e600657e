"""What is read out of ssh's arguments: the same few strings, many times for every task."""

from __future__ import annotations

import argparse
import functools
import itertools
import re
import types
from collections.abc import Callable, Sequence
from typing import Any

from ansible.plugins.connection import ssh as stock_ssh

# The options that stock looks for a wish for a terminal in, and what it has found.
OPTIONS = ("ssh_args", "ssh_common_args", "ssh_extra_args")
_asks_for_tty: dict[tuple[str | None, ...], bool] = {}
# An option about masters, in the same word as -o or in one of its own.
_CONTROL = re.compile(rb"(?:-o)?\s*(control(?:master|persist))\s*[= ]\s*\"?([^\"\s]*)", re.IGNORECASE)
# One-letter options of ssh: flags, perhaps one that takes a value, perhaps that value.
_OPTION = re.compile(rb"-([^BbcDEeFIiJLlmOoPpQRSWw]*)(\w?)(.*)", re.DOTALL)
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


@functools.lru_cache(256)
def without(arguments: tuple[bytes, ...], letters: bytes) -> tuple[bytes, ...]:
    """Return ssh's arguments without these of its one-letter options, which win over ``-o`` wherever they stand."""
    kept = list(arguments[:1])
    words = iter(arguments[1:])
    for word in words:
        if not (option := _OPTION.fullmatch(word)):
            kept.append(word)
            continue
        flags, valued, value = option.groups()
        in_next_word = list(itertools.islice(words, 1)) if valued and not value else []
        flags = flags.translate(None, letters)
        if valued in letters:
            valued, value, in_next_word = b"", b"", []
        if flags or valued:
            kept += [b"-" + flags + valued + value, *in_next_word]
    return tuple(kept)


def last_words(command: Sequence[bytes], stderr: bytes, is_named_by_stock: bool) -> bytes:
    """Return the standard error of an ssh over a master of ours as it ends for stock, whose ssh may have none.

    ``is_named_by_stock`` says that nothing else names the place of stock's.
    """
    if is_named_by_stock and _leaves_master(command):
        return stderr
    return _SHARED.sub(b"Connection to ", stderr)


def _leaves_master(command: Sequence[bytes]) -> bool:
    """Tell whether ssh, called so, would leave a master behind; what can't be told counts as yes."""
    # Of two, ssh takes the first.
    found = [match.groups() for word in reversed(command) if (match := _CONTROL.fullmatch(word))]
    given = {name.lower(): value.lower() for name, value in found}
    return b"no" not in (given.get(b"controlmaster"), given.get(b"controlpersist"))


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
