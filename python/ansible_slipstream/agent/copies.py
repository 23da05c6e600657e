"""What this agent was sent, for other agents of the same target: whole, to begin with, or by single contents."""

from __future__ import absolute_import

import errno
import hashlib
import os
import signal
import struct
import sys
import zlib

from . import frames

# Abstract sockets, which leave nothing behind, are Linux's.
POSSIBLE = sys.platform.startswith("linux")
# The socket option that tells who listens, on the machines that Linux is mostly run on (program.rs has it too).
SO_PEERCRED = 17
# Who has the token sends it at once.
KNOCK_S = 2
# A visitor that does not take what it asked for is left alone then.
VISIT_S = 20
# Strangers may knock, too.
VISITORS_MAX = 8
# The holder is on the same machine.
ANSWER_S = 5
# What a closure can be at most.
INFLATED_MAX = 64 << 20
# Digits in front of a request, as in front of a program.
LENGTH = 8


class Copies(object):
    """The program and the closures of this agent, as they came, and the socket where others get them."""

    def __init__(self, program, closures):
        self._program = program
        self._closures = closures
        self._taken = []
        self._pids = set()
        self._listener = None
        self._token = b""

    def took(self, control, body):
        """Remember a closure's message."""
        self._taken.append((control, body))

    def listen(self, name, token):
        """Give to whoever comes to the abstract socket ``name`` and knows ``token``, from now on."""
        # The socket module would import more than a module finds imported under AnsiballZ.
        import _socket

        self._token = token.encode("ascii")
        try:
            self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            self._listener.bind(b"\0" + name.encode("ascii"))
            self._listener.listen(VISITORS_MAX)
            # A visitor may have left before it was let in.
            self._listener.setblocking(False)
        except (OSError, IOError, _socket.error):
            # Who comes finds nobody, and is sent everything.
            self._listener = None

    def descriptors(self):
        """Return what is readable when a visitor knocks."""
        return [self._listener.fileno()] if self._listener is not None else []

    def welcome(self):
        """Let a visitor in: a child gives it what it asks for, so nothing here waits for it."""
        try:
            visitor = _accept(self._listener)
        except (OSError, IOError) as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # Who knocks would be heard for ever.
                self._listener.close()
                self._listener = None
            return
        try:
            pid = os.fork() if len(self._pids) < VISITORS_MAX else -1
        except OSError:
            pid = -1
        if pid == 0:
            code = 1
            try:
                _keep_only(visitor.fileno())
                signal.alarm(KNOCK_S)
                self._serve(visitor)
                code = 0
            finally:
                os._exit(code)
        visitor.close()
        if pid > 0:
            self._pids.add(pid)

    def reap(self):
        """Notice visits that have ended."""
        for pid in list(self._pids):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._pids.discard(pid)

    def withdraw(self):
        """End every visit, and let nobody in any more."""
        if self._listener is not None:
            self._listener.close()
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        while self._pids:
            try:
                self._pids.discard(os.wait()[0])
            except OSError as error:
                if error.errno != errno.EINTR:
                    return

    def _serve(self, visitor):
        visitor.settimeout(None)
        if _read(visitor, len(self._token)) != self._token:
            return
        signal.alarm(VISIT_S)
        wanted = _read(visitor, int(_read(visitor, LENGTH)))
        if wanted:
            for number in wanted.decode("ascii").split(","):
                visitor.sendall(self._closures.content(int(number)))
            return
        visitor.sendall(("%0*d" % (LENGTH, len(self._program))).encode("ascii") + self._program)
        for control, body in self._taken:
            visitor.sendall(frames.message(0, control, body))


def inflated(body):
    """Return what a closure's body consists of; raises ValueError if that is more than can be."""
    inflater = zlib.decompressobj()
    content = inflater.decompress(body, INFLATED_MAX)
    if inflater.unconsumed_tail:
        raise ValueError("too large")
    return content


def reached(before, control, content):
    """Return the id of a history that goes on with this closure; the daemon computes the same."""
    parts = (before, control["digest"], ":%d:" % control["head"], hashlib.sha256(content).hexdigest())
    return hashlib.sha256("".join(parts).encode("ascii")).hexdigest()


def read(history, expected):
    """Return the messages of the history of that id; None if ``history`` does not begin with it."""
    taken = []
    at = ""
    try:
        for frame in frames.Decoder((frames.MESSAGE,)).feed(history):
            taken.append(frame)
            at = reached(at, frame.control, inflated(frame.body))
            if at == expected:
                return taken
    except Exception:
        # Whatever is wrong with it, this agent begins with nothing.
        pass
    return None


def fetch(source, size):
    """Return ``size`` bytes, the contents that the agent behind ``source`` has under the numbers named there.

    None if it does not give that many, or is not of the account that it should be of.
    """
    import _socket

    wanted = ",".join(str(number) for number in source["numbers"])
    visitor = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        visitor.settimeout(ANSWER_S)
        visitor.connect(b"\0" + source["name"].encode("ascii"))
        owner = struct.unpack("3I", visitor.getsockopt(_socket.SOL_SOCKET, SO_PEERCRED, 12))[1]
        if owner != source["uid"]:
            return None
        visitor.sendall(("%s%0*d%s" % (source["token"], LENGTH, len(wanted), wanted)).encode("ascii"))
        content = _read(visitor, size)
    except (OSError, IOError, _socket.error):
        return None
    finally:
        visitor.close()
    return content if len(content) == size else None


def _accept(listener):
    import _socket

    if hasattr(listener, "accept"):
        return listener.accept()[0]
    return _socket.socket(fileno=listener._accept()[0])


def _read(visitor, size):
    data = bytearray()
    while len(data) < size:
        chunk = visitor.recv(min(size - len(data), 1 << 18))
        if not chunk:
            break
        data += chunk
    return bytes(data)


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
