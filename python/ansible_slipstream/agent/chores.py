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
            except (OSError, IOError, KeyError, UnicodeError) as error:
                why = getattr(error, "strerror", None) or str(error) or "it could not be done"
                break
            done += 1
        self._content = b""
        return {"op": "chores", "done": done, "said": said, "why": why}

    def _home(self, chore):
        """``echo ~name``."""
        import pwd

        home = pwd.getpwnam(chore["user"]).pw_dir
        home.encode("ascii")
        return home

    def _make_folder(self, chore):
        """``umask 77; mkdir -p base; mkdir base/name``."""
        base = self._files.absolute(chore["base"])
        before = os.umask(0o77)
        try:
            if not os.path.isdir(base):
                os.makedirs(base)
            os.mkdir(os.path.join(base, chore["name"].encode("ascii")))
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
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise OSError(errno.EPERM, "not a folder of this account alone")
        _remove_tree(path)


def _remove_tree(folder):
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _remove_tree(path)
        else:
            os.unlink(path)
    os.rmdir(folder)
