"""What this agent was sent, for another agent of the same target to begin with."""

from __future__ import absolute_import

import errno
import hashlib
import os
import signal
import sys

from . import frames

# Abstract sockets, which leave nothing behind, are Linux's.
POSSIBLE = sys.platform.startswith("linux")
# The other agent comes at once or not at all.
OFFER_S = 20
# Strangers may knock first.
VISITORS_MAX = 8


class Copies(object):
    """The program and the closures of this agent, as they came."""

    def __init__(self, program):
        self._program = program
        self._taken = []
        self._pids = set()

    def took(self, control, body):
        """Remember a closure's message."""
        self._taken.append((control, body))

    def offer(self, name, token):
        """Give everything to the first who comes to the socket ``name`` and knows ``token``, if that can be done."""
        # The socket module would import more than a module finds imported under AnsiballZ.
        import _socket

        listener = None
        try:
            listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            listener.bind(b"\0" + name.encode("ascii"))
            listener.listen(VISITORS_MAX)
            pid = os.fork()
        except (OSError, IOError, _socket.error):
            # Who comes finds nobody, and is sent everything.
            if listener is not None:
                listener.close()
            return
        if pid:
            self._pids.add(pid)
            listener.close()
            return
        code = 1
        try:
            _keep_only(listener.fileno())
            signal.alarm(OFFER_S)
            self._receive_visitors(listener, token.encode("ascii"))
            code = 0
        finally:
            os._exit(code)

    def reap(self):
        """Notice offers that have ended."""
        for pid in list(self._pids):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._pids.discard(pid)

    def withdraw(self):
        """End every offer."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._pids.clear()

    def _receive_visitors(self, listener, token):
        for _ in range(VISITORS_MAX):
            visitor = _accept(listener)
            visitor.settimeout(2)
            try:
                if _read(visitor, len(token)) == token:
                    visitor.settimeout(None)
                    self._give(visitor)
                    return
            except (OSError, IOError):
                pass
            visitor.close()

    def _give(self, visitor):
        visitor.sendall(("%08d" % len(self._program)).encode("ascii") + self._program)
        for control, body in self._taken:
            visitor.sendall(frames.message(0, control, body))


def reached(before, control, body):
    """Return the id of a history that goes on with this closure; the daemon computes the same."""
    parts = (before, control["digest"], ":%d:" % control["head"], hashlib.sha256(body).hexdigest())
    return hashlib.sha256("".join(parts).encode("ascii")).hexdigest()


def read(history, expected):
    """Return the messages of the history of that id; None if ``history`` does not begin with it."""
    taken = []
    at = ""
    try:
        # It comes from a stranger until its digests are known: nothing in it is inflated.
        for frame in frames.Decoder((frames.MESSAGE,)).feed(history):
            taken.append(frame)
            at = reached(at, frame.control, frame.body)
            if at == expected:
                return taken
    except Exception:
        # Whatever is wrong with it, this agent begins with nothing.
        pass
    return None


def _accept(listener):
    import _socket

    if hasattr(listener, "accept"):
        return listener.accept()[0]
    return _socket.socket(fileno=listener._accept()[0])


def _read(visitor, size):
    data = b""
    while len(data) < size:
        chunk = visitor.recv(size - len(data))
        if not chunk:
            break
        data += chunk
    return data


def _keep_only(kept):
    """Close what belongs to the agent, its channel above all: it must not stay open for this process."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for fd in range(1024):
        if fd != kept:
            try:
                os.close(fd)
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise
