"""Small things that stock Ansible starts a shell for, done as that shell would do them.

What does not go well is left: the shell will try, and has the words for it.
"""

from __future__ import absolute_import

import errno
import os
import stat


class Chores(object):
    """Does chores; ``files`` takes what is written."""

    def __init__(self, files):
        self._files = files
        self._ways = {
            "home": self._home,
            "make_folder": self._make_folder,
            "write": self._write,
            "allow": self._allow,
            "remove": self._remove,
        }
        self._content = b""

    def do(self, chores, content):
        """Return how many were done, what the last one said, and why the next one was not."""
        self._content = content
        done, said, why = 0, "", ""
        for chore in chores:
            try:
                said = self._ways[chore["do"]](chore) or ""
            except Exception as error:
                # Whatever it is, the shell tries, and other jobs go on.
                why = getattr(error, "strerror", None) or str(error) or "it could not be done"
                break
            done += 1
        self._content = b""
        return {"op": "chores", "done": done, "said": said, "why": why}

    def _home(self, chore):
        """``echo ~name``, or ``echo ~``, which the environment has the answer to; only if it is ``path``, if given."""
        import pwd

        user = chore["user"]
        home = (pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())).pw_dir
        home.encode("ascii")
        if home != chore.get("path", home) or not user and home != os.environ["HOME"]:
            raise OSError(errno.ESTALE, "another home")
        return home

    def _make_folder(self, chore):
        """``umask 77; mkdir -p base; mkdir base/name``."""
        if "home" in chore:
            self._home(chore["home"])
        base = self._files.absolute(chore["base"])
        before = os.umask(0o77)
        try:
            if not os.path.isdir(base):
                os.makedirs(base)
            _make_empty(os.path.join(base, chore["name"].encode("ascii")))
        finally:
            os.umask(before)

    def _write(self, chore):
        content, self._content = self._content[: chore["size"]], self._content[chore["size"] :]
        self._files.write(chore["path"], chore["mode"], content)

    def _allow(self, chore):
        """``chmod u+rwx``, or less than that."""
        for path in chore["paths"]:
            path = self._files.absolute(path)
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | chore["mode"])

    def _remove(self, chore):
        """``rm -r``, in a folder of this account that nobody else may write to."""
        path = self._files.absolute(chore["path"])
        folder = _open_folder(path)
        try:
            found = os.fstat(folder)
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise OSError(errno.EPERM, "not a folder of this account alone")
            _empty(folder)
        finally:
            os.close(folder)
        os.rmdir(path)


def _make_empty(path):
    """Make a folder; one that another agent has just made, and could not say so, will do."""
    try:
        os.mkdir(path)
    except OSError as error:
        found = os.lstat(path)
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
        if error.errno != errno.EEXIST or not mine or os.listdir(path):
            raise error


def _open_folder(path, parent=None):
    """Return a descriptor of a folder that is no link; Python 2 can't walk by descriptors."""
    if os.open not in getattr(os, "supports_dir_fd", ()):
        raise OSError(errno.ENOSYS, "links could be followed")
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def _empty(folder):
    for name in os.listdir(folder):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            inner = _open_folder(name, folder)
            try:
                _empty(inner)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
