"""Run a command on a throw-away copy of this machine, network apart: accounts, folders and processes are its own.

    unshare --mount --pid --fork --kill-child --uts --ipc PYTHON tests/targets/alone.py COMMAND...

What it needs is in this checkout and in the interpreter's installation. As root.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import sandbox

CHECKOUT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Become the command, in the checkout's folder."""
    folder = Path(tempfile.mkdtemp(prefix="slip-alone-"))
    top, shared = folder / "mounts", folder / "shared"
    top.mkdir()
    shared.mkdir()
    sandbox.new_root(top, shared, None, [CHECKOUT, Path(sys.base_prefix)])
    os.chdir(CHECKOUT)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
