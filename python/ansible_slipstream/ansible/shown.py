"""What is shown of connections from -vvv on: the command lines that stock would have run."""

from __future__ import annotations

import contextlib
import re
import shlex
import threading
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ssh as stock_ssh
from ansible.utils.display import Display

from .versions import HAS_PROFILES

display = Display()

# The verbosity at which stock shows them.
SHOWN_FROM = 3
# sh -c around sudo around sh -c, and one more for ssh.
QUOTING_DEPTH = 4
# What shlex.quote leaves as it is, in quotes that only the agent's first stage needed.
NEEDLESS_QUOTES = re.compile(r"(?<= -c )'([\w@%+=:,./-]+)'$", re.ASCII)

_local = threading.local()


def start_line(line: str, started: str, stock: str) -> str:
    """Return a line with stock's command in the place of the one that starts an agent, however deep shells quote."""
    for _ in range(QUOTING_DEPTH):
        line = line.replace(started, stock)
        started, stock = _inside_quotes(started), _inside_quotes(stock)
    return NEEDLESS_QUOTES.sub(r"\1", line)


def command(host: str, words: list[bytes]) -> None:
    """Show a command as stock's ssh connection does before it runs one."""
    if display.verbosity >= SHOWN_FROM:
        display.vvv(f"SSH: EXEC {_joined(words)}", host=host)


def transfer(connection: Any, in_path: str, out_path: str, action: str) -> None:
    """Show the command that would have moved a file, and what it would have said."""
    if display.verbosity < SHOWN_FROM:
        return
    method = connection.get_option("ssh_transfer_method")
    host = connection.host
    said = b""
    if method in ("smart", "sftp", None):
        words = connection._build_command(connection.get_option("sftp_executable"), "sftp", to_bytes(f"[{host}]"))
        said = to_bytes(f"sftp> {action} {shlex.quote(in_path)} {shlex.quote(out_path)}\n")
    elif method == "scp":
        ends = [in_path, f"[{host}]:{connection._shell.quote(out_path)}"]
        if action == "get":
            ends = [f"[{host}]:{connection._shell.quote(in_path)}", out_path]
        words = connection._build_command(connection.get_option("scp_executable"), "scp", *ends)
    else:
        # Piped: a shell's command like any other, and nobody's choice but for want of the two.
        return
    command(host, words)
    private = connection._play_context.no_log
    display.vvv("rc=0, stdout and stderr censored due to no log" if private else str((0, said, b"")), host=host)


def escalation(host: str, words: str) -> None:
    """Tell how a become plugin's prompt was passed; up to 2.18 stock does not say where."""
    display.vvv(words, host=host if HAS_PROFILES else None)


@contextlib.contextmanager
def without(words: list[bytes]) -> Iterator[None]:
    """Leave these words out of the commands that stock shows meanwhile in this thread."""
    _local.hidden = f" {_joined(words)}"
    try:
        yield
    finally:
        _local.hidden = None


def install() -> None:
    """Stand between stock's ssh connection and the display."""
    stock_ssh.display = _StockDisplay()


class _StockDisplay:
    """Ansible's display, for stock's ssh connection."""

    def __getattr__(self, name: str) -> Any:
        return getattr(display, name)

    @staticmethod
    def vvv(text: str, host: str | None = None) -> None:
        """Show a line without what only we have added to it."""
        if hidden := getattr(_local, "hidden", None):
            text = text.replace(hidden, "", 1)
        display.vvv(text, host=host)


def _joined(words: list[bytes]) -> str:
    return " ".join(shlex.quote(to_text(word)) for word in words)


def _inside_quotes(line: str) -> str:
    return shlex.quote(f" {line}")[2:-1]
