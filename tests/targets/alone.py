"""Run a command on a throw-away copy of this machine, network apart: accounts, folders and processes are its own.

    unshare --mount --pid --fork --kill-child --uts --ipc PYTHON tests/targets/alone.py COMMAND...

What it needs is in this checkout and in the interpreter's installation. As root.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sandbox
from kit import accounts

CHECKOUT = Path(__file__).resolve().parents[2]
# Where every copy has a file system of its own in memory: nothing is left of it on this machine.
FOLDER = Path("/run/slipstream-test-alone")


def main() -> None:
    """Become the command, in the checkout's folder."""
    FOLDER.mkdir(exist_ok=True)
    sandbox.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(FOLDER))
    top, shared = FOLDER / "mounts", FOLDER / "shared"
    top.mkdir()
    shared.mkdir()
    sandbox.new_root(top, shared, None, [CHECKOUT, Path(sys.base_prefix)])
    _forget_accounts(shared)
    os.chdir(CHECKOUT)
    os.execvp(sys.argv[1], sys.argv[1:])


def _forget_accounts(folder: Path) -> None:
    """Have none of the tests' accounts: others that run now make and remove theirs below this overlay."""
    sandbox.run("cp", "-a", "/etc", str(folder))
    sandbox.run("mount", "--bind", str(folder / "etc"), "/etc")
    for account in accounts.EVERYONE:
        account.remove()
    sandbox.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/home")


if __name__ == "__main__":
    main()
