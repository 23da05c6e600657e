"""A folder of the target that keeps what was sent, for agents that come later; only where it is asked for."""

from __future__ import absolute_import

import errno
import hashlib
import marshal
import os
import stat
import sys
import zlib

from . import copies, frames

# Beyond that many bytes the oldest half goes, when an agent starts.
KEPT_BYTES = 64 << 20
# What the daemon is told of at most.
NAMED_MAX = 200
CLOSURE, CODE = ".closure", ".code"


class Refused(Exception):
    """The folder can't be used; the text says why."""


def open_cache(folder):
    """Return the cache in ``folder``, made if it is not there.

    Raises Refused: it is no place for code that this account will run.
    """
    folder = os.path.expanduser(folder)
    try:
        if not os.path.isdir(folder):
            os.makedirs(folder, 0o700)
        found = os.lstat(folder)
    except (OSError, IOError) as error:
        raise Refused("%s: %s" % (folder, error.strerror))
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Refused("%s is not a folder of this account alone (mode 0700)" % folder)
    return Cache(folder)


class Cache(object):
    """Closures by the id of the history that ends with them, code by what it was compiled from."""

    def __init__(self, folder):
        self._folder = folder
        self._tag = ".%s%x" % (sys.implementation.cache_tag, sys.hexversion) if importable_code() else None
        self._make_room()

    def histories(self):
        """Return the ids of the closures that are there, the newest first."""
        found = [name[: -len(CLOSURE)] for _, _, name in self._entries() if name.endswith(CLOSURE)]
        return found[::-1][:NAMED_MAX]

    def closure(self, identity, before):
        """Return what leads from the history ``before`` to this one, None if it is damaged: message, body, content."""
        content = self._read(identity + CLOSURE)
        try:
            (frame,) = frames.Decoder().feed(content or b"")
            unpacked = copies.inflated(frame.body)
            if copies.reached(before, frame.control, unpacked) == identity:
                return frame.control, frame.body, unpacked
        except (frames.BadFrame, zlib.error, KeyError, TypeError, ValueError):
            pass
        self._drop(identity + CLOSURE)
        return None

    def keep_closure(self, identity, control, body):
        """Keep a closure."""
        name = identity + CLOSURE
        if not os.path.exists(os.path.join(self._folder, name)):
            self._write(name, frames.message(0, control, body))

    def compile(self, content, filename):
        """Return the code of a source, from the cache if it is there."""
        if self._tag is None:
            return compile(content, filename, "exec", 0, True)
        name = hashlib.sha256(content).hexdigest() + self._tag + CODE
        kept = self._read(name) or b""
        digest, data = kept[:32], kept[32:]
        if data and hashlib.sha256(data).digest() == digest:
            return marshal.loads(data)
        code = compile(content, filename, "exec", 0, True)
        data = marshal.dumps(code)
        self._write(name, hashlib.sha256(data).digest() + data)
        return code

    def _entries(self):
        """Return time, size and name of each file, the oldest first."""
        entries = []
        for name in os.listdir(self._folder):
            try:
                found = os.lstat(os.path.join(self._folder, name))
            except OSError:
                continue
            entries.append((found.st_mtime, found.st_size, name))
        return sorted(entries)

    def _make_room(self):
        entries = self._entries()
        left = sum(size for _, size, _ in entries)
        if left > KEPT_BYTES:
            for _, size, name in entries:
                self._drop(name)
                left -= size
                if left < KEPT_BYTES // 2:
                    return

    def _read(self, name):
        path = os.path.join(self._folder, name)
        try:
            with open(path, "rb") as file:
                # What is used stays longest.
                os.utime(path, None)
                return file.read()
        except (OSError, IOError):
            return None

    def _write(self, name, content):
        """Write a file whole or not at all; a full disk only means that it is not kept."""
        part = os.path.join(self._folder, "%s.%d" % (name, os.getpid()))
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
            os.rename(part, os.path.join(self._folder, name))
        except (OSError, IOError) as error:
            if error.errno != errno.EEXIST:
                self._drop(os.path.basename(part))

    def _drop(self, name):
        try:
            os.unlink(os.path.join(self._folder, name))
        except OSError:
            pass


def importable_code():
    """Tell whether code can be kept: it has to be moved to another file's name, as Python 3.8 and later can."""
    return sys.version_info >= (3, 8)
