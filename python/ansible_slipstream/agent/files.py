"""Files: written under another name and renamed when whole; read with credit."""

from __future__ import absolute_import

import errno
import fcntl
import hashlib
import os
import stat
import time
import zlib

from . import frames

# Bytes on the way to the daemon at most; it gives credit as it writes them.
WINDOW = 2 << 20
# Bytes a second above which the link is faster than deflating, with room for machines slower than ours.
FAST = 8 << 20
# Parts that go as they are after one that showed that deflating does not pay.
SKIP = 63
PART_PREFIX = b".slipstream-"
# What a new file in the place of an old one may meet where writing into the old one would go well: a folder that
# may not be written to, a name that is too long beside it.
ONLY_IN_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


class Incoming(object):
    """A file that is being put."""

    def __init__(self, path, mode):
        self.path = path
        self.hash = hashlib.sha256()
        self._final = os.path.realpath(path) if os.path.islink(path) else path
        self._part = None
        try:
            old = os.stat(self._final)
        except OSError:
            old = None
        if old is not None and stat.S_ISDIR(old.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if old is not None and is_more_than_content(self._final, old):
            self._write_in_place()
            return
        try:
            self._make_part(mode)
        except OSError as error:
            if old is None or error.errno not in ONLY_IN_PLACE:
                raise
            self._write_in_place()
            return
        if old is not None:
            os.fchmod(self._fd, stat.S_IMODE(old.st_mode))

    def _write_in_place(self):
        # A pipe that nobody reads must not hold the agent up.
        self._fd = os.open(self._final, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)

    def _make_part(self, mode):
        name = PART_PREFIX + ("%d-%x" % (os.getpid(), id(self))).encode("ascii")
        part = os.path.join(os.path.dirname(self._final), name)
        self._fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IMODE(mode))
        self._part = part

    def write(self, data):
        """Take a part of the content."""
        self.hash.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def finish(self, digest):
        """Check the content and put the file in place."""
        if self.hash.hexdigest() != digest:
            raise OSError(errno.EIO, "the content changed on its way: its digest is another")
        fd, self._fd = self._fd, None
        # Some file systems say only now that the disk is full.
        os.close(fd)
        if self._part:
            os.rename(self._part, self._final)
            self._part = None

    def abandon(self):
        """Remove what is there of the file."""
        fd, self._fd = self._fd, None
        part, self._part = self._part, None
        try:
            if fd is not None:
                os.close(fd)
            if part:
                os.unlink(part)
        except OSError:
            # Its folder may be gone, with all that was in it.
            pass


def is_more_than_content(path, found):
    """Tell whether only writing into a file keeps what it is: a device, a file with other names, another's file,
    one with another group than new files get here, one that runs as its owner, one that must not be written to,
    or one with attributes or access lists of its own."""
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid != os.geteuid():
        return True
    folder = os.stat(os.path.dirname(path) or ".")
    inherits = folder.st_mode & stat.S_ISGID
    if found.st_gid != (folder.st_gid if inherits else os.getegid()) or found.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return True
    if not os.access(path, os.W_OK):
        return True
    try:
        # SELinux labels every file, a new one by the same rules as the old one; a folder's access list is for new ones.
        here = os.listxattr(os.path.dirname(path) or ".")
        return "system.posix_acl_default" in here or bool(set(os.listxattr(path)) - set(["security.selinux"]))
    except AttributeError:
        # Nobody can tell: not on this system, or before Python 3.
        return True
    except OSError:
        # This file system has none.
        return False


class Outgoing(object):
    """A file that is being fetched."""

    def __init__(self, path, level, auto):
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._fd)
            raise OSError(errno.EINVAL, "not a regular file")
        self.size = found.st_size
        self.mode = stat.S_IMODE(found.st_mode)
        self.hash = hashlib.sha256()
        self.credit = WINDOW
        # What shrinks a little is deflated only over a slow link, if ``auto``.
        self._level, self._auto = level, auto
        self._slow = self._little = False
        # Parts until the next that is deflated only to see.
        self._skip = 0
        self._granted = 0
        self._started = time.time()

    def read(self):
        """Return the next part, empty at the end, and its frame's flags."""
        data = os.read(self._fd, frames.CHUNK // 2)
        self.hash.update(data)
        packed = self._pack(data)
        self.credit -= len(packed)
        return packed, frames.ALONE | (0 if packed is data else frames.PACKED)

    def grant(self, size):
        """Take credit; how long it takes to come tells how fast the link is."""
        self.credit += size
        self._granted += size
        if self._granted >= WINDOW:
            self._slow = self._granted < FAST * (time.time() - self._started)
            self._granted, self._started = 0, time.time()

    def _pack(self, data):
        if not (data and self._level):
            return data
        if self._skip:
            self._skip -= 1
            if not (self._little and self._slow):
                return data
        packed = zlib.compress(data, self._level)
        nothing = len(packed) > len(data) - len(data) // 16
        # What shrinks to half pays on any link: bytes that ssh does not have to encrypt.
        self._little = not nothing and len(packed) > len(data) // 2
        if nothing or (self._little and self._auto and not self._skip):
            self._skip = SKIP
        return data if nothing else packed

    def close(self):
        """Let go of the file."""
        os.close(self._fd)


class Files(object):
    """All transfers of this agent, by stream."""

    def __init__(self, writer, folder):
        self._writer = writer
        # Relative paths start where a login starts, as for sftp.
        self._folder = folder
        self._incoming = {}
        self._outgoing = {}
        self._level, self._auto = 0, False

    def compress(self, level, auto):
        """Deflate what is fetched from now on; ``auto``: only over links that are slower than that."""
        self._level, self._auto = level, auto

    def put(self, stream, message):
        """Begin a file."""
        path = self.absolute(message["path"])
        try:
            self._incoming[stream] = Incoming(path, message["mode"])
        except (OSError, IOError) as error:
            self._refuse(stream, path, error)

    def data(self, frame):
        """Take a part; parts of a file that failed are dropped."""
        incoming = self._incoming.get(frame.stream)
        if incoming is None:
            return
        try:
            incoming.write(zlib.decompress(frame.body) if frame.flags & frames.PACKED else frame.body)
        except (OSError, IOError) as error:
            self.abandon(frame.stream)
            self._refuse(frame.stream, incoming.path, error)

    def put_end(self, stream, message):
        """Put a file in place."""
        incoming = self._incoming.get(stream)
        if incoming is None:
            return
        try:
            incoming.finish(message["digest"])
        except (OSError, IOError) as error:
            self.abandon(stream)
            self._refuse(stream, incoming.path, error)
            return
        del self._incoming[stream]
        self._writer.message(stream, {"op": "file_end", "digest": incoming.hash.hexdigest()})

    def write(self, path, mode, content):
        """Write a file, whole or not at all.

        Raises OSError with the reason, IOError in Python 2.
        """
        incoming = Incoming(self.absolute(path), mode)
        try:
            incoming.write(content)
            incoming.finish(incoming.hash.hexdigest())
        except (OSError, IOError):
            incoming.abandon()
            raise

    def fetch(self, stream, message):
        """Begin sending a file."""
        path = self.absolute(message["path"])
        try:
            outgoing = self._outgoing[stream] = Outgoing(path, self._level, self._auto)
        except (OSError, IOError) as error:
            self._refuse(stream, path, error)
            return
        self._writer.message(stream, {"op": "file_start", "size": outgoing.size, "mode": outgoing.mode})
        self._pump(stream)

    def give_credit(self, stream, message):
        """Send more of a file."""
        if stream in self._outgoing:
            self._outgoing[stream].grant(message["bytes"])
            self._pump(stream)

    def abandon(self, stream):
        """Drop a transfer that nobody wants any more."""
        incoming = self._incoming.pop(stream, None)
        if incoming is not None:
            incoming.abandon()
        outgoing = self._outgoing.pop(stream, None)
        if outgoing is not None:
            outgoing.close()

    def abandon_all(self):
        """Drop every transfer."""
        for stream in list(self._incoming) + list(self._outgoing):
            self.abandon(stream)

    def absolute(self, path):
        """Return the bytes of a path; one that is relative starts where a login starts."""
        if not isinstance(path, bytes):
            # Python 3's own encoding of paths depends on a locale that has nothing to do with the path.
            return os.path.join(os.fsencode(self._folder), path.encode("utf-8", "surrogateescape"))
        return os.path.join(self._folder, path)

    def _pump(self, stream):
        outgoing = self._outgoing[stream]
        while outgoing.credit > 0:
            try:
                data, flags = outgoing.read()
            except (OSError, IOError) as error:
                self.abandon(stream)
                self._refuse(stream, outgoing.path, error)
                return
            if not data:
                self.abandon(stream)
                self._writer.message(stream, {"op": "file_end", "digest": outgoing.hash.hexdigest()})
                return
            self._writer.data(stream, data, flags)

    def _refuse(self, stream, path, error):
        text = "%s: %s" % (path.decode("utf-8", "replace"), error.strerror)
        self._writer.message(stream, {"op": "file_error", "text": text})
