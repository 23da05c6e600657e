"""The controller's side of a fetch: a transfer that breaks leaves the file as it was, and nothing beside it."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable


def into_place(path: str, fetch: Callable[[int], int]) -> None:
    """Have ``fetch`` write into a descriptor, and return the mode; give the file its place and what sftp gives it.

    Raises:
        OSError: the file can't be written here.
    """
    final = os.path.realpath(path)
    beside = _part_beside(final)
    if beside is None:
        with open(final, "wb") as target:
            fetch(target.fileno())
        return
    descriptor, part = beside
    try:
        try:
            mode = fetch(descriptor)
        finally:
            os.close(descriptor)
        # sftp makes what it fetches writable for its owner, and honours the umask.
        os.umask(umask := os.umask(0))
        with contextlib.suppress(FileNotFoundError):
            mode, umask = stat.S_IMODE(os.stat(final).st_mode), 0
        os.chmod(part, (mode & 0o777 | stat.S_IWUSR) & ~umask)
        os.rename(part, final)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise


def _part_beside(path: str) -> tuple[int, str] | None:
    """Return a new file that may take a file's place; None where only writing into that file will do, or fail."""
    if _is_more_than_content(path):
        return None
    try:
        return tempfile.mkstemp(dir=os.path.dirname(path), prefix=".slipstream-")
    except OSError:
        return None


def _is_more_than_content(path: str) -> bool:
    """Tell whether another file in its place would be another thing: a device, another's file, one of two names."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    ours = (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())
    return not (stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and ours)
