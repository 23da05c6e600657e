"""The agent's one loop: frames from the daemon, output and ends of modules, deadlines."""

from __future__ import absolute_import

import errno
import json
import os
import select
import signal
import sys
import traceback
import zlib

from . import children, chores, copies, files, fingerprint, frames, importer, jobs, spawning

STDIN = 0


class Agent(object):
    """Serves one channel; modules run in children, so nothing here waits for them."""

    def __init__(self, program):
        self._closures = importer.Closures()
        self._finder = importer.Finder(self._closures)
        # Before anything else has a descriptor.
        self._preloaded = importer.Preloaded(self._finder)
        # Modules print to descriptor 1 of their own; nothing but frames may reach the daemon's.
        self._writer = frames.Writer(os.dup(1))
        self._decoder = frames.Decoder()
        cwd, self._leaves = _working_directory()
        modules_cwd = cwd if self._leaves else None
        ready_children = children.Children(self._closures, self._finder, self._preloaded, modules_cwd)
        self._files = files.Files(self._writer, cwd)
        self._chores = chores.Chores(self._files)
        self._jobs = jobs.Jobs(self._writer, ready_children, self._chores)
        self._copies = copies.Copies(program, self._closures)
        self._fingerprint = fingerprint.Fingerprint()
        # Of the closures that have come; see copies.reached.
        self._history = ""
        self._cache = None
        self._damaged = False
        # Streams whose run will not begin.
        self._answered = set()
        self._resting = False
        self._ending = False
        self._handlers = {
            "closure": self._closure,
            "run": self._run,
            "chores": self._do_chores,
            "cancel": self._cancel,
            "put": lambda frame: self._files.put(frame.stream, frame.control),
            "put_end": lambda frame: self._files.put_end(frame.stream, frame.control),
            "fetch": lambda frame: self._files.fetch(frame.stream, frame.control),
            "compress": lambda frame: self._compress(frame.control),
            "credit": lambda frame: self._files.give_credit(frame.stream, frame.control),
            "listen": lambda frame: self._copies.listen(frame.control["name"], frame.control["token"]),
            "rest": lambda frame: self._rest(),
            "end": lambda frame: self._end(),
        }

    def serve(self, history, expected, folder):
        """Greet with what was there already, then serve until the channel is closed and every job has ended."""
        wakeup = _wake_on_child_end()
        self._finder.install()
        hello = {"copied": self._begin_with(history, expected)}
        hello.update(self._open_cache(folder) if folder else {})
        self._greet(hello)
        if self._leaves:
            # Nobody can unmount or remove a folder that a process stands in.
            os.chdir("/")
        while not self._ending or self._jobs.any():
            visits = self._copies.descriptors()
            watched = self._jobs.descriptors() + visits + [wakeup] + ([] if self._ending else [STDIN])
            ready = _wait(watched, self._jobs.timeout())
            if STDIN in ready:
                self._receive()
            if wakeup in ready:
                frames.read_some(wakeup, 4096)
                self._jobs.reap()
                self._copies.reap()
            for fd in ready:
                if fd in visits:
                    self._copies.welcome()
                elif fd not in (STDIN, wakeup):
                    self._jobs.readable(fd)
            self._jobs.tick()
        self._jobs.close()
        self._copies.withdraw()

    def _begin_with(self, history, expected):
        taken = copies.read(history, expected) if expected else None
        for frame in taken or ():
            self._closure(frame)
        return taken is not None

    def _open_cache(self, folder):
        # It comes along only where it is asked for.
        from . import cache

        try:
            self._cache = cache.open_cache(folder)
        except cache.Refused as refused:
            return {"refused": str(refused)}
        self._finder.compiler = self._cache.compile
        return {"cached": self._cache.histories()}

    def _greet(self, more):
        version = ".".join(str(part) for part in sys.version_info[:3])
        hello = {"op": "hello", "pid": os.getpid(), "executable": sys.executable or "", "python": version}
        hello.update({"uid": os.geteuid(), "shares": copies.POSSIBLE})
        hello.update(more)
        self._writer.raw(frames.GREETING)
        self._writer.message(0, hello)

    def _receive(self):
        data = frames.read_some(STDIN, 1 << 20)
        if not data:
            self._end()
            return
        for frame in self._decoder.feed(data):
            if frame.control is None:
                self._files.data(frame)
                continue
            handler = self._handlers.get(frame.control["op"])
            if handler is None:
                raise frames.BadFrame("unknown message %r" % frame.control["op"])
            handler(frame)

    def _compress(self, message):
        self._writer.compress(message["level"])
        self._files.compress(message["files"], message["auto"])

    def _closure(self, frame):
        found = self._found(frame.control, frame.body)
        if found is None:
            # The daemon counts its blobs all the same: no closure that comes after it means what it says.
            self._damaged = True
            return
        message, body, content = found
        head = json.loads(content[: message["head"]].decode("utf-8"))
        self._closures.add(message["digest"], head, content[message["head"] :])
        self._copies.took(message, body)
        self._history = copies.reached(self._history, message, content)
        if self._cache is not None:
            self._cache.keep_closure(self._history, message, body)

    def _found(self, message, body):
        """Return a closure's message, its body and what that consists of, wherever it is; None if it is damaged."""
        history, source = message.pop("history", None), message.pop("source", None)
        if history is not None and source is None:
            return self._cache.closure(history, self._history)
        content = copies.inflated(body)
        if source is not None:
            size = sum(json.loads(content.decode("utf-8"))["sizes"])
            content += copies.fetch(source, size) or b""
            if copies.reached(self._history, message, content) != history:
                return None
            # As if it had come over the wire: for others, and for the cache.
            body = zlib.compress(content, 1)
        return message, body, content

    def _do_chores(self, frame):
        first = frame.control.get("first")
        if not self._is_stale(frame, self._fingerprint.changed()):
            content = zlib.decompress(frame.body) if frame.flags & frames.PACKED else frame.body
            outcome = self._chores.do(frame.control["chores"], content)
            if first and not outcome["why"]:
                return
            self._writer.message(frame.stream, outcome)
        if first:
            self._answered.add(frame.stream)

    def _run(self, frame):
        if frame.stream in self._answered:
            # By what should have been done first.
            self._answered.discard(frame.stream)
            return
        if self._is_stale(frame, self._objection(frame.control["closure"])):
            return
        job = frame.control["job"]
        place = _place_of(job["interpreter"])
        if place:
            self._fingerprint.watch(place)
        if place and job["env"] and _is_wrapper(place):
            self._writer.message(frame.stream, {"op": "needs_environment"})
            return
        if sys.version_info < tuple(job["oldest"]):
            words = "the interpreter is older than the modules can do with"
            self._writer.message(frame.stream, {"op": "needs_stock", "why": words})
            return
        preload = job["preload"]
        if self._preloaded.load(self._closures.files(frame.control["closure"]), preload):
            spawning.install()
            self._fingerprint.watch_loaded()
        self._jobs.start(frame, self._preloaded)

    def _is_stale(self, frame, changed):
        """Say what has changed, so that somebody else is asked; false if nothing has."""
        if changed is not None:
            self._writer.message(frame.stream, {"op": "stale", "what": changed, "damaged": self._damaged})
        return changed is not None

    def _objection(self, closure):
        """Return why a module can't run here, or None."""
        if self._resting:
            return "at rest"
        if self._damaged or not self._closures.has(closure):
            return "a closure is damaged"
        return self._fingerprint.changed()

    def _cancel(self, frame):
        self._answered.discard(frame.stream)
        self._jobs.give_up(frame.stream)
        self._files.abandon(frame.stream)

    def _rest(self):
        """Take no job ever again: what was allowed to this process may be forbidden by now."""
        self._resting = True
        self._jobs.rest()

    def _end(self):
        self._ending = True
        self._jobs.give_up_all()
        self._files.abandon_all()


def _working_directory():
    """Return the login's folder, and whether it can be left and entered again.

    A become plugin may start an agent where its account has no right to go: modules must find themselves there.
    """
    try:
        cwd = os.getcwd()
    except OSError:
        return os.path.expanduser("~"), True
    try:
        os.chdir(cwd)
    except OSError:
        return cwd, False
    return cwd, True


def _place_of(interpreter):
    """Return the file that a shell finds for an interpreter's name, empty for none or an unusual one."""
    path = os.path.expanduser(interpreter)
    if path.startswith("/"):
        return path
    if not interpreter or "/" in interpreter:
        return ""
    try:
        paths = [os.path.join(folder, interpreter) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    except UnicodeError:
        # Python 2 with a folder that is not ASCII.
        return ""
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")


def _is_wrapper(path):
    """Tell whether something else stands in the interpreter's place, which may read its environment and change it."""
    here = sys.executable and os.path.isfile(path)
    return bool(here) and os.path.realpath(path) != os.path.realpath(sys.executable)


def _wake_on_child_end():
    """Return a descriptor that is readable when a child has ended."""
    import fcntl

    reader, writer = os.pipe()
    for fd in (reader, writer):
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(writer)
    return reader


def _wait(watched, timeout):
    """Return the readable descriptors of ``watched``."""
    if hasattr(select, "poll") and sys.platform != "darwin":
        poller = select.poll()
        for fd in watched:
            poller.register(fd, select.POLLIN)
        try:
            return [fd for fd, _ in poller.poll(None if timeout is None else int(timeout * 1000) + 1)]
        except select.error as error:
            if error.args[0] != errno.EINTR:
                raise
            return []
    try:
        return select.select(watched, [], [], timeout)[0]
    except select.error as error:
        if error.args[0] != errno.EINTR:
            raise
        return []


def main(program, history, expected, folder):
    """Serve, and end when the daemon has gone.

    ``program`` is what the first stage has read; ``history`` what came from another agent of this
    target, which counts only if it begins with the history of the id ``expected``; ``folder`` that of the
    cache, empty for none.
    """
    code = 0
    try:
        Agent(program).serve(history, expected, folder)
    except (OSError, IOError) as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            traceback.print_exc()
            code = 1
    except Exception:
        traceback.print_exc()
        code = 1
    # Not sys.exit: what modules' utilities registered in this process must not print into the channel.
    os._exit(code)
