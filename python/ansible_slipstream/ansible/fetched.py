"""The controller's side of a fetch: a transfer that breaks leaves the file as it was, and nothing beside it, wherever a
new file can take its place."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable

from ..agent.files import is_more_than_content
from ..errors import FailedHere

# Writes into a descriptor and returns the permission bits of what it has fetched.
Fetch = Callable[[int], int]


def into_place(path: str, fetch: Fetch) -> None:
    """Have ``fetch`` write a file, and give it what sftp gives it.

    Raises:
        FailedHere: it can't be written to its end: the disk is full.
        OSError: it can't be written here.
    """
    final = os.path.realpath(path)
    old = _look(final)
    in_place = old is not None and is_more_than_content(final, old)  # type: ignore[no-untyped-call]
    part = None if in_place else _part_beside(final)
    if part is None:
        _into(final, fetch)
        return
    try:
        _by_part(*part, final, old, fetch)
    except FailedHere:
        if old is None:
            raise
        # There may be room for one of them only.
        _into(final, fetch)


def _look(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _part_beside(path: str) -> tuple[int, str] | None:
    """Return a new file that may take a file's place; None where only writing into that file will do, or fail."""
    try:
        return tempfile.mkstemp(dir=os.path.dirname(path), prefix=".slipstream-")
    except OSError:
        return None


def _into(path: str, fetch: Fetch) -> None:
    """Write into a file that is there; it is emptied when something comes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        fetch(descriptor)
    finally:
        os.close(descriptor)


def _by_part(descriptor: int, part: str, final: str, old: os.stat_result | None, fetch: Fetch) -> None:
    """Write a new file and give it the place of another, with that one's permission bits."""
    try:
        try:
            mode = fetch(descriptor)
        finally:
            os.close(descriptor)
        # sftp makes what it fetches writable for its owner.
        os.chmod(part, stat.S_IMODE(old.st_mode) if old else _as_created(part, mode & 0o777 | stat.S_IWUSR))
        os.rename(part, final)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise


def _as_created(part: str, mode: int) -> int:
    """Return the permission bits of a file that is created with ``mode``: the umask, or its folder's access list,
    takes some away."""
    probe = f"{part}.mode"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.unlink(probe)
        os.close(descriptor)
