"""A terminal for a module, where stock would have started it on the one that ssh asks for."""

from __future__ import absolute_import

import errno
import fcntl
import os
import signal

STDIN = 0
READ_SIZE = 65536
LET_GO_S = 2
# What sudo calls the terminal's type where there is none.
UNKNOWN = "unknown"


class Terminal(object):
    """The agent's side of a module's terminal; nobody types there, and what is written there is dropped."""

    def __init__(self):
        """Open a pair; raises OSError where there is none, or none left."""
        # The module's side stays open here, too: the pair never seems closed before the module has come to it.
        self.fd, self._theirs = os.openpty()
        try:
            for fd in (self.fd, self._theirs):
                fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) | os.O_NONBLOCK)
            self.path = os.ttyname(self._theirs)
        except (OSError, IOError):
            self.close()
            raise

    def drain(self):
        """Take off what was written, so that nobody waits; false when no more can come."""
        try:
            return bool(os.read(self.fd, READ_SIZE))
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.EINTR)

    def close(self):
        """Hang up."""
        # Theirs last: some systems wait there for somebody who reads what was written.
        os.close(self.fd)
        os.close(self._theirs)


def opened():
    """Return a terminal, or None: without one sshd starts a command all the same."""
    try:
        return Terminal()
    except (AttributeError, OSError, IOError):
        return None


def take(told):
    """Have the terminal that a job is told of, if that can be: the session's, and standard input.

    With the variables that sshd sets. Who has lost those of the login, as under sudo, does not see its name.
    """
    try:
        fd = os.open(told["path"], os.O_RDWR)
        os.dup2(fd, STDIN)
        os.close(fd)
        _make_it_the_sessions()
    except (ImportError, OSError, IOError):
        return
    if told["term"] and os.environ.get("TERM", UNKNOWN) == UNKNOWN:
        os.environ["TERM"] = told["term"]
    if "SSH_CONNECTION" in os.environ:
        os.environ["SSH_TTY"] = told["path"]


def _make_it_the_sessions():
    try:
        os.tcgetpgrp(STDIN)
    except OSError:
        # Not everywhere it is so by being opened.
        import termios

        fcntl.ioctl(STDIN, termios.TIOCSCTTY, 0)


def let_go():
    """Before the session's end, put a group that nobody is in to the terminal's front: that is told to hang up.

    What a module leaves behind lives on, as it does behind sudo and wherever there is no terminal.
    """
    try:
        # Nobody waits for this; whatever the module has hung on forks must not make it stay.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LET_GO_S)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        fd = os.open("/dev/tty", os.O_RDWR)
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return
        try:
            os.setpgid(0, 0)
            os.tcsetpgrp(fd, os.getpid())
        finally:
            os._exit(0)
    except (ValueError, OSError, IOError):
        # There is none, or the module has done something with it.
        pass
