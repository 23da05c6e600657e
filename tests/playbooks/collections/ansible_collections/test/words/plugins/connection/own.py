"""A connection of a third party: a shell on this machine, with commands that know that they went this way."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
    name: own
    short_description: run commands on the controller
    description: Private to the tests of Slipstream.
    options:
      word:
        description: What commands find in their environment.
        default: none
        vars: [{name: own_word}]
"""


class Connection(ConnectionBase):  # type: ignore[misc]
    """Runs a command in a shell; `WORD` holds the option."""

    transport = "test.words.own"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command; the word `forbidden` is not for this connection."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if "forbidden" in cmd:
            raise AnsibleError("own connections run nothing that is forbidden")
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "WORD": self.get_option("word")}
        done = subprocess.run(["/bin/sh", "-c", cmd], input=in_data or b"", capture_output=True, env=environment)
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file."""
        super().put_file(in_path, out_path)
        shutil.copyfile(in_path, out_path)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file."""
        super().fetch_file(in_path, out_path)
        shutil.copyfile(in_path, out_path)

    def close(self) -> Any:
        """Forget the connection."""
        self._connected = False
