"""Finding and starting the daemon that belongs to this installation."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig

from . import _native
from .settings import Settings

PROGRAM = "slipstreamd"


# Where a process is, and what whatever it starts may do at most.
NAMESPACES = ("mnt", "net", "pid", "user", "uts", "ipc")
LIMITS = ("CapBnd:", "NoNewPrivs:", "Seccomp:")


@functools.cache
def surroundings() -> str:
    """Return what local tasks and ssh have from the process that starts them, word by word; empty outside of Linux."""
    try:
        words = [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES]
        root = os.stat("/")
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            words += ["".join(line.split()) for line in status if line.startswith(LIMITS)]
    except OSError:
        return ""
    return " ".join([*words, f"root:{root.st_dev}:{root.st_ino}"])


def start_command() -> list[str]:
    """Return the command line that starts this wheel's daemon.

    A wheel without the binary runs the extension's ``daemon_main`` in an interpreter of its own.
    """
    return [*_program(), "--surroundings", surroundings()]


def _program() -> list[str]:
    for folder in (sysconfig.get_path("scripts"), os.path.dirname(sys.executable)):
        program = os.path.join(folder, PROGRAM)
        if os.access(program, os.X_OK):
            return [program]
    helper = os.path.join(sysconfig.get_path("scripts"), "slipstream-askpass")
    return [sys.executable, "-m", "ansible_slipstream.daemon", "--askpass", helper]


def connect(settings: Settings, start: bool = True) -> _native.Channel:
    """Open a channel to the daemon, starting it if asked to and there is none.

    Raises:
        DaemonNotRunning: nobody listens, and starting was not asked for.
        DaemonNotStarted: with the daemon's own words.
        UnsafeState: the state folder or its socket is not only ours.
    """
    if not start:
        return _native.Channel.connect(settings.state_dir)
    return _native.Channel.connect_or_start(settings.state_dir, start_command(), settings.log, settings.idle_s)


def main() -> None:
    """Be the daemon, or under SLIPSTREAM_ASKPASS the helper that ssh asks for a secret."""
    sys.exit(_native.daemon_main(sys.argv[1:]))


if __name__ == "__main__":
    main()
