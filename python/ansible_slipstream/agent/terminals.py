"""A terminal for a module, where stock would have started it on the one that ssh asks for."""

from __future__ import absolute_import

import fcntl
import os

STDIN = 0


class Terminal(object):
    """The agent's side of a module's terminal; nobody types there."""

    def __init__(self):
        """Open a pair; raises OSError where there is none, or none left."""
        # The module's side stays open here, too: the pair never seems closed before the module has come to it.
        self.fd, self._theirs = os.openpty()
        try:
            for fd in (self.fd, self._theirs):
                fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            self.path = os.ttyname(self._theirs)
        except (OSError, IOError):
            self.close()
            raise

    def close(self):
        """Hang up."""
        os.close(self._theirs)
        os.close(self.fd)


def opened():
    """Return a terminal, or None: without one sshd starts a command all the same."""
    try:
        return Terminal()
    except (OSError, IOError):
        return None


def take(told):
    """Have the terminal that a job is told of, if it can be opened: the session's, standard input; sshd's variables."""
    try:
        fd = os.open(told["path"], os.O_RDWR)
    except OSError:
        return
    os.dup2(fd, STDIN)
    os.close(fd)
    try:
        os.tcgetpgrp(STDIN)
    except OSError:
        # Not everywhere it is the session's by being opened.
        import termios

        fcntl.ioctl(STDIN, termios.TIOCSCTTY, 0)
    os.environ["TERM"] = told["term"]
    if told["login"]:
        os.environ["SSH_TTY"] = told["path"]
