"""A small process beside the agent: if the agent is killed, it ends the modules that run."""

from __future__ import absolute_import

import errno
import os
import select
import signal
import struct
import time

from . import frames

RECORD = struct.Struct(">ci")
STARTED, ENDED = b"+", b"-"
KILL_GRACE_S = 1.0


class Guardian(object):
    """The agent's handle on its guardian."""

    def __init__(self):
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()
                os.close(self._writer)
                # Nor must a folder be held that somebody wants to unmount.
                os.chdir("/")
                # The channel must not stay open because of this process.
                for fd in (0, 1, 2):
                    os.close(fd)
                _watch(reader)
            finally:
                os._exit(0)
        os.close(reader)

    def started(self, pid):
        """Tell that a module leads the process group ``pid``."""
        self._tell(STARTED, pid)

    def ended(self, pid):
        """Tell that a module has ended."""
        self._tell(ENDED, pid)

    def dismiss(self):
        """End the guardian, and wait for it."""
        os.close(self._writer)
        try:
            os.waitpid(self._pid, 0)
        except OSError:
            pass

    def _tell(self, what, pid):
        try:
            os.write(self._writer, RECORD.pack(what, pid))
        except OSError as error:
            # Without its guardian an agent is still an agent.
            if error.errno not in (errno.EPIPE, errno.EINTR):
                raise


def signal_group(pid, number):
    """Send a signal to a process group that may have gone."""
    try:
        os.killpg(pid, number)
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EPERM):
            raise


def group_lives(pid):
    """Tell whether anything of a process group is left."""
    try:
        os.killpg(pid, 0)
        return True
    except OSError as error:
        return error.errno == errno.EPERM


def _watch(reader):
    running = set()
    while True:
        # Records are shorter than what a pipe writes at once, so they come whole.
        record = frames.read_some(reader, RECORD.size)
        if len(record) < RECORD.size:
            break
        what, pid = RECORD.unpack(record)
        if what == STARTED:
            running.add(pid)
        else:
            running.discard(pid)
    if running:
        for pid in running:
            signal_group(pid, signal.SIGTERM)
        _await_end(running)
        for pid in running:
            signal_group(pid, signal.SIGKILL)


def _await_end(groups):
    """Wait until nothing is left of these process groups, as far as one is told (Linux, Python 3.9), or it is time."""
    leaders = []
    for pid in groups:
        try:
            leaders.append(os.pidfd_open(pid))
        except (AttributeError, OSError):
            pass
    due = time.time() + KILL_GRACE_S
    while True:
        ended = select.select(leaders, [], [], max(0.0, due - time.time()))[0]
        leaders = [leader for leader in leaders if leader not in ended]
        if not ended or not (leaders or any(group_lives(pid) for pid in groups)):
            return
