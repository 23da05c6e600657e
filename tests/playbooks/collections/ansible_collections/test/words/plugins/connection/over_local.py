"""A connection that a third party has made of stock's local one."""

from __future__ import annotations

from typing import Any

from ansible.plugins.connection.local import Connection as LocalConnection

DOCUMENTATION = """
    name: over_local
    short_description: run commands on the controller, marked
    description: Private to the tests of Slipstream.
    options:
      become_success_timeout:
        description: As stock's.
        type: int
        default: 10
      become_strip_preamble:
        description: As stock's.
        type: bool
        default: true
"""


class Connection(LocalConnection):  # type: ignore[misc]
    """Marks the commands that it runs."""

    transport = "test.words.over_local"

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> Any:
        """Run a command with a word in its environment."""
        return super().exec_command(f"WORD=over_local; export WORD; {cmd}", in_data=in_data, sudoable=sudoable)
