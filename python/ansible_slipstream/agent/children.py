"""Forked processes that wait for a module to run; one is kept ready, forked while nobody waits for it."""

from __future__ import absolute_import

import errno
import os
import signal

from . import frames, importer, module

try:
    import mmap
except ImportError:
    # Some small machines have a Python without it.
    mmap = None

READ_SIZE = 65536


class Farewell(object):
    """What a process says as its last word: memory that it shares with the agent, no descriptor that modules see."""

    def __init__(self):
        try:
            self._page = mmap.mmap(-1, 2) if mmap else None
        except EnvironmentError:
            # Out of memory; whoever wants an answer waits for the process.
            self._page = None

    def say(self, code):
        """Let go of all that others may wait for, and tell the exit code: to be taken down takes a while."""
        os.chdir("/")
        os.closerange(3, 1024)
        if self._page is not None:
            self._page[0:2] = bytes(bytearray((1, code & 0xFF)))
        # The agent looks when both are closed.
        os.closerange(0, 3)

    def status(self):
        """Return the status that the process is about to end with, None if it has not said it."""
        if self._page is None:
            return None
        said, code = bytearray(self._page[0:2])
        return code << 8 if said else None

    def close(self):
        """Give the memory back."""
        if self._page is not None:
            self._page.close()


class Child(object):
    """A process that runs the job that it is told, once, and ends by itself if it is told none."""

    def __init__(self, pid, control, out, err, farewell):
        self.pid = pid
        self.out = out
        self.err = err
        self.farewell = farewell
        self._control = control

    def tell(self, closure, job, params):
        """Start the job."""
        frames.Writer(self._control).message(0, {"closure": closure, "job": job}, params)
        os.close(self._control)

    def forget(self):
        """Let the process end; its output interests nobody."""
        for fd in (self._control, self.out, self.err):
            os.close(fd)
        self.farewell.close()


class Children(object):
    """Forks children, and holds the one that is ready."""

    def __init__(self, closures, finder, preloaded, cwd):
        self._closures = closures
        self._finder = finder
        self._preloaded = preloaded
        self._cwd = cwd
        self._ready = None
        self._known = frozenset()
        self._uses = {}
        # Told nothing, or done with their jobs, they end by themselves; somebody has to notice.
        # Each with its job, if it had one.
        self._leaving = {}

    def start(self, closure, job, params):
        """Return a process that runs the job.

        Raises OSError out of descriptors or processes.
        """
        self._uses[closure] = self._uses.get(closure, 0) + 1
        child, self._ready = self._ready, None
        if child is not None:
            if closure in self._known and _told(child, closure, job, params):
                return child
            self._dismiss(child)
        child = self._fork()
        child.tell(closure, job, params)
        return child

    def make_ready(self):
        """Fork the next child ahead; without room for it the next job forks its own."""
        if self._ready is None:
            self._compile()
            self._known = frozenset(self._closures.digests())
            try:
                self._ready = self._fork()
            except OSError:
                self._ready = None

    def _compile(self):
        """Compile what has come twice already, and so will come again, while nobody waits."""
        for closure, uses in self._uses.items():
            if uses == 2 and importer.CAN_MOVE:
                self._finder.compile(self._closures.files(closure))
                # Once is enough.
                self._uses[closure] = uses + 1

    def reap(self):
        """Notice the end of children that run no job; return the jobs of those that had one."""
        if self._ready is not None and wait(self._ready.pid)[0]:
            self._ready.forget()
            self._ready = None
        jobs = [self._leaving.pop(pid) for pid in list(self._leaving) if wait(pid)[0]]
        return [job for job in jobs if job]

    def leaves(self, job):
        """Notice the end of a child, whose job is done, when it comes."""
        self._leaving[job.pid] = job

    def close(self):
        """Let the child that is ready end."""
        if self._ready is not None:
            self._dismiss(self._ready)
            self._ready = None

    def end(self):
        """Let the child that is ready end, and wait for it: not every machine has an init that would."""
        self.close()
        for pid, job in self._leaving.items():
            if job and job.terminal:
                # Some systems let nobody go whose words have not been taken.
                job.terminal.drain()
            wait(pid, 0)

    def _dismiss(self, child):
        child.forget()
        self._leaving[child.pid] = None

    def _fork(self):
        pipes = []
        farewell = Farewell()
        try:
            for _ in range(4):
                pipes.extend(os.pipe())
            pid = os.fork()
        except OSError:
            for fd in pipes:
                os.close(fd)
            raise
        control_read, control_write, stdin_read, stdin_write, out_read, out_write, err_read, err_write = pipes
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                os.setsid()
                for number, fd in enumerate((stdin_read, out_write, err_write)):
                    os.dup2(fd, number)
                _close_all_but(sorted(self._preloaded.descriptors + [control_read]))
                self._serve(control_read, farewell)
            finally:
                os._exit(70)
        for fd in (control_read, stdin_read, stdin_write, out_write, err_write):
            os.close(fd)
        return Child(pid, control_write, out_read, err_read, farewell)

    def _serve(self, control, farewell):
        """Be ready, wait for the job, run it; never returns."""
        module.prepare()
        told = _hear(control)
        os.close(control)
        files = self._closures.files(told.control["closure"])
        module.run(told.control["job"], told.body, self._finder, self._preloaded, files, self._cwd, farewell.say)


def _close_all_but(kept):
    """Close all descriptors but the first three and these, which are in order."""
    first = 3
    for fd in kept:
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, 1024)


def _told(child, closure, job, params):
    """Tell a job to the child that was ready; false if somebody has killed it meanwhile."""
    try:
        child.tell(closure, job, params)
        return True
    except (OSError, IOError) as error:
        if error.errno != errno.EPIPE:
            raise
        return False


def wait(pid, options=os.WNOHANG):
    """Return (whether a child has ended, its status), without waiting unless ``options`` say so."""
    while True:
        try:
            ended, status = os.waitpid(pid, options)
            return bool(ended), status
        except OSError as error:
            if error.errno != errno.EINTR:
                return True, 0


def _hear(control):
    """Return the frame that the agent sends; without one it has gone, or needs no more children."""
    decoder = frames.Decoder()
    while True:
        data = frames.read_some(control, READ_SIZE)
        if not data:
            os._exit(0)
        for told in decoder.feed(data):
            return told
