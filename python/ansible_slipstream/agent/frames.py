"""The frame layout (docs/protocol.md), reading from descriptor 0 and writing to a copy of 1."""

from __future__ import absolute_import

import errno
import json
import os
import struct
import sys
import zlib

VERSION = 1
MESSAGE, DATA, DEFLATED = 1, 2, 3
# Flags: error output; a body that is deflated by itself; a secret, for which there is no shared stream.
STDERR, PACKED, ALONE = 1, 2, 4
GREETING = b"\0SLIPSTREAM-AGENT\n"
# Longer parts are split: the daemon takes no larger ones from a target.
CHUNK = 256 << 10

HEADER = struct.Struct(">IIBBHI")


class BadFrame(Exception):
    """The daemon sent something that this agent does not know."""


class Frame(object):
    """One frame: ``control`` is the decoded JSON part of a message, None for data."""

    __slots__ = ("control", "body", "flags", "stream")

    def __init__(self, control, body, flags, stream):
        self.control = control
        self.body = body
        self.flags = flags
        self.stream = stream


class Decoder(object):
    """Puts frames together from the bytes that arrive."""

    def __init__(self, kinds=(MESSAGE, DATA, DEFLATED)):
        self._kinds = kinds
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._inflated = None

    def feed(self, data):
        """Take bytes and return the frames that are whole now."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= HEADER.size:
            control_len, body_len, kind, version, flags, stream = HEADER.unpack(bytes(self._buffer[: HEADER.size]))
            if version != VERSION or kind not in self._kinds:
                raise BadFrame("frame of version %d, kind %d" % (version, kind))
            body_at = HEADER.size + control_len
            end = body_at + body_len
            if len(self._buffer) < end:
                break
            control = bytes(self._buffer[HEADER.size : body_at])
            body = bytes(self._buffer[body_at:end])
            del self._buffer[:end]
            if kind == DEFLATED:
                frames.extend(self._shared().feed(self._inflate.decompress(body)))
            else:
                frames.append(Frame(_parse(control) if control else None, body, flags, stream))
        return frames

    def _shared(self):
        """Return the decoder of the frames in the shared stream."""
        if self._inflated is None:
            self._inflated = Decoder()
        return self._inflated


def _parse(text):
    value = json.loads(text.decode("utf-8"))
    return _native(value) if sys.version_info[0] == 2 else value


def _native(value):
    """Turn text into Python 2's native strings, which paths, names and environments have to be."""
    if isinstance(value, dict):
        return dict((_native(key), _native(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_native(item) for item in value]
    # Python 2's unicode, by a way that no formatter takes the prefix from.
    if isinstance(value, type(b"".decode("ascii"))):
        return value.encode("utf-8")
    return value


def message(stream, control, body=b""):
    """Return the bytes of a message."""
    text = json.dumps(control).encode("utf-8")
    return HEADER.pack(len(text), len(body), MESSAGE, VERSION, 0, stream) + text + body


class Writer(object):
    """Writes frames to a descriptor."""

    def __init__(self, fd):
        self._fd = fd
        self._deflate = None

    def compress(self, level):
        """Put messages through a deflate stream from now on."""
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)

    def raw(self, data):
        """Write bytes, whole."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                if error.errno != errno.EINTR:
                    raise

    def message(self, stream, control, body=b"", flags=0):
        """Write a message with its raw body."""
        self._write(message(stream, control, body), flags)

    def data(self, stream, body, flags=0):
        """Write raw bytes of a stream."""
        self._write(HEADER.pack(0, len(body), DATA, VERSION, flags, stream) + body, flags)

    def _write(self, frame, flags):
        if self._deflate is not None and not flags & ALONE:
            body = self._deflate.compress(frame) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            frame = HEADER.pack(0, len(body), DEFLATED, VERSION, 0, 0) + body
        self.raw(frame)


def read_some(fd, size):
    """Read once, whatever signals arrive; empty at the end."""
    while True:
        try:
            return os.read(fd, size)
        except OSError as error:
            if error.errno != errno.EINTR:
                raise
