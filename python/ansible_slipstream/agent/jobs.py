"""Children that run modules: forked, watched, their output collected, killed when given up."""

from __future__ import absolute_import

import errno
import fcntl
import os
import signal
import time

from . import children, frames, guardian, terminals

# Output of processes that a module left behind is waited for that long after the module's end.
DRAIN_S = 0.05
# A job that is given up may end in order for that long.
KILL_GRACE_S = 1.0
READS_AT_ONCE = 64
# A shell between sshd and Python reports these deaths on standard error; for the others it is silent.
SILENT_DEATHS = (signal.SIGINT, signal.SIGPIPE)
# For what is older than 3.8, and does not know these words itself.
DEATHS = {
    signal.SIGHUP: "Hangup",
    signal.SIGQUIT: "Quit",
    signal.SIGILL: "Illegal instruction",
    signal.SIGABRT: "Aborted",
    signal.SIGBUS: "Bus error",
    signal.SIGFPE: "Floating point exception",
    signal.SIGKILL: "Killed",
    signal.SIGUSR1: "User defined signal 1",
    signal.SIGSEGV: "Segmentation fault",
    signal.SIGUSR2: "User defined signal 2",
    signal.SIGALRM: "Alarm clock",
    signal.SIGTERM: "Terminated",
}


class Job(object):
    """One running module."""

    def __init__(self, frame, child, base, terminal):
        self.stream = frame.stream
        # Those of the frames that answer.
        self.flags = frame.flags & frames.ALONE
        job = frame.control["job"]
        self.name = job["name"]
        # Chores for after its success.
        self.then = job.get("then")
        self.pid = child.pid
        self.farewell = child.farewell
        self.base = base
        self.status = None
        # Descriptor to collected output, as long as it is open.
        self.out, self.err = child.out, child.err
        self.terminal = terminal
        self.open = {self.out: [], self.err: []}
        self.sizes = {self.out: 0, self.err: 0}
        self.collected = dict(self.open)
        self.deadline = None
        self.given_up = False

    def signal(self, number):
        """Send a signal to the module and all it started in its process group."""
        guardian.signal_group(self.pid, number)


class Jobs(object):
    """All running modules of this agent."""

    def __init__(self, writer, ready_children, chores):
        self._writer = writer
        self._chores = chores
        self._children = ready_children
        self._guardian = guardian.Guardian()
        self._by_pid = {}
        self._by_fd = {}

    def start(self, frame, preloaded):
        """Let a child run the module that a message asks for."""
        job = frame.control["job"]
        terminal = terminals.opened() if job.get("terminal") else None
        job["terminal"] = dict(job["terminal"], path=terminal.path) if terminal else None
        try:
            child = self._children.start(frame.control["closure"], job, frame.body)
        except (OSError, IOError) as error:
            # Out of descriptors or processes: this job fails, the others go on.
            if terminal:
                terminal.close()
            words = ("slipstream: the module could not be started: %s\n" % error.strerror).encode("utf-8")
            self._writer.message(frame.stream, {"op": "exit", "rc": 1, "out": 0}, words)
            return
        started = Job(frame, child, preloaded.base, terminal)
        for fd in (child.out, child.err):
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
            fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            self._by_fd[fd] = started
        if terminal:
            self._by_fd[terminal.fd] = started
        self._by_pid[child.pid] = started
        self._guardian.started(child.pid)

    def descriptors(self):
        """Return the descriptors to wait for."""
        return list(self._by_fd)

    def any(self):
        """Tell whether modules are running."""
        return bool(self._by_pid)

    def timeout(self):
        """Return seconds until something is due, or None."""
        due = [job.deadline for job in self._by_pid.values() if job.deadline is not None]
        return max(0.0, min(due) - time.time()) if due else None

    def readable(self, fd):
        """Collect output; an ended stream may be the job's end."""
        job = self._by_fd.get(fd)
        if job is None:
            return
        if fd in job.open:
            self._read(job, fd)
            self._settle(job)
        elif not job.terminal.drain():
            del self._by_fd[fd]

    def reap(self):
        """Notice children that have ended."""
        for job in self._children.reap():
            self._hang_up(job)
        for pid, job in list(self._by_pid.items()):
            if job.status is not None:
                continue
            ended, status = children.wait(pid)
            if ended:
                said = job.farewell.status()
                job.status = status if said is None else said
                if job.given_up:
                    # What it has started may live on, deaf to SIGTERM: the deadline is for that.
                    if job.deadline is None or not guardian.group_lives(pid):
                        self._drop(job)
                    continue
                self._guardian.ended(pid)
                for fd in list(job.open):
                    self._read(job, fd)
                job.deadline = time.time() + DRAIN_S
                self._settle(job)

    def tick(self):
        """Do what is due."""
        now = time.time()
        for job in list(self._by_pid.values()):
            if job.deadline is None or job.deadline > now:
                continue
            job.deadline = None
            if job.given_up:
                job.signal(signal.SIGKILL)
                if job.status is not None:
                    self._drop(job)
            else:
                for fd in list(job.open):
                    self._read(job, fd)
                    # It may have come to its end just now.
                    if fd in job.open:
                        self._close(job, fd)
                self._settle(job)

    def give_up(self, stream):
        """Kill a job whose result nobody wants any more."""
        for job in list(self._by_pid.values()):
            if job.stream != stream or job.given_up:
                continue
            job.given_up = True
            if job.status is None:
                job.signal(signal.SIGTERM)
                job.deadline = time.time() + KILL_GRACE_S
            else:
                # It has ended by itself; what it left behind, it meant to.
                self._drop(job)

    def give_up_all(self):
        """Kill every job."""
        for job in list(self._by_pid.values()):
            self.give_up(job.stream)

    def rest(self):
        """Let what is ready for the next module go: there will be none."""
        self._children.close()

    def close(self):
        """Say that no more modules will be started."""
        self._children.end()
        self._guardian.dismiss()

    def _read(self, job, fd):
        # A module that prints without end must not keep the others waiting.
        for _ in range(READS_AT_ONCE):
            if fd not in job.open:
                return
            try:
                chunk = os.read(fd, 65536)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                return
            if not chunk:
                self._close(job, fd)
                return
            job.open[fd].append(chunk)
            job.sizes[fd] += len(chunk)
            if job.sizes[fd] > frames.CHUNK:
                self._forward(job, fd)

    def _forward(self, job, fd):
        """Send what is collected: a module may print more than this agent wants to keep."""
        text = self._own_path(job, b"".join(job.collected[fd]))
        # The end may be the beginning of a path that is to be replaced.
        going = max(0, len(text) - len(job.base))
        text, kept = text[:going], text[going:]
        job.collected[fd][:] = [kept]
        job.sizes[fd] = len(kept)
        if job.given_up:
            return
        flags = job.flags | (frames.STDERR if fd == job.err else 0)
        for at in range(0, len(text), frames.CHUNK):
            self._writer.data(job.stream, text[at : at + frames.CHUNK], flags)

    def _close(self, job, fd):
        os.close(fd)
        del job.open[fd]
        del self._by_fd[fd]

    def _drop(self, job):
        """Forget a job that was given up, now that all of it has ended."""
        for fd in list(job.open):
            self._close(job, fd)
        self._hang_up(job)
        del self._by_pid[job.pid]
        job.farewell.close()
        self._guardian.ended(job.pid)

    def _settle(self, job):
        if job.open or job.given_up:
            return
        if job.status is None:
            # Answered before the process has ended, which nobody has to wait for.
            job.status = job.farewell.status()
            if job.status is None:
                return
            self._guardian.ended(job.pid)
            self._children.leaves(job)
        else:
            self._hang_up(job)
        del self._by_pid[job.pid]
        job.farewell.close()
        code, last_words = _shell_view(job.status)
        err = self._own_path(job, b"".join(job.collected[job.err])) + last_words
        out = self._own_path(job, b"".join(job.collected[job.out]))
        answer = {"op": "exit", "rc": code, "out": len(out)}
        if job.then and not code:
            answer["tidied"] = not self._chores.do(job.then, b"")["why"]
        self._writer.message(job.stream, answer, out + err, job.flags)
        self._children.make_ready()

    def _hang_up(self, job):
        if job.terminal:
            self._by_fd.pop(job.terminal.fd, None)
            job.terminal.close()

    @staticmethod
    def _own_path(job, text):
        """Put the job's own path where preloaded modules name the one they were compiled with."""
        shared = job.base.encode("ascii")
        if shared not in text:
            return text
        own = "/tmp/ansible_%s_payload_%08x/ansible_%s_payload.zip" % (job.name, job.pid, job.name)
        return text.replace(shared, own.encode("utf-8"))


def _shell_view(status):
    """Return the exit code and the words that the shell between sshd and Python adds."""
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status), b""
    number = os.WTERMSIG(status)
    if number in SILENT_DEATHS:
        return 128 + number, b""
    describe = getattr(signal, "strsignal", DEATHS.get)
    text = describe(number) or "Signal %d" % number
    if os.WCOREDUMP(status):
        text += " (core dumped)"
    return 128 + number, text.encode("utf-8") + b"\n"
