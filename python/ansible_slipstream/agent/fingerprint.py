"""What a fresh login or a fresh interpreter would notice: compared before every job."""

from __future__ import absolute_import

import os
import sys

# Groups, passwords, limits, sudo rules, environment, locale and time zone are read once, at login.
LOGIN_FILES = (
    "/etc/group",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/pam.d",
    "/etc/environment",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/sudoers-rs",
    "/etc/doas.conf",
    "/etc/security",
    "/etc/security/limits.conf",
    "/etc/security/limits.d",
    "/etc/security/pam_env.conf",
    "/etc/default/locale",
    "/etc/locale.conf",
    "/usr/lib/locale",
    "/usr/lib/locale/locale-archive",
    "/etc/localtime",
    "/etc/login.defs",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/bash.bashrc",
)
HOME_FILES = (
    ".bashrc",
    ".profile",
    ".bash_profile",
    ".zshenv",
    ".cshrc",
    ".pam_environment",
    ".ssh/environment",
    ".ssh/rc",
)


class Fingerprint(object):
    """How the machine looked when this agent started."""

    def __init__(self):
        home = os.path.expanduser("~")
        paths = list(LOGIN_FILES) + _entries(LOGIN_FILES) + [os.path.join(home, name) for name in HOME_FILES]
        # An upgraded interpreter, an installed package, a new .pth file.
        paths += [sys.executable, os.path.realpath(sys.executable), os.path.dirname(os.__file__)]
        paths += [entry for entry in sys.path if entry]
        self._paths = sorted(set(paths))
        self._looks = [_look(path) for path in self._paths]

    def watch(self, path):
        """Watch the interpreter's place too: a wrapper there is not what ``sys.executable`` says."""
        if path not in self._paths:
            self._paths.append(path)
            self._looks.append(_look(path))

    def changed(self):
        """Return the first path that looks different now, or None."""
        for path, look in zip(self._paths, self._looks):
            if _look(path) != look:
                return path
        return None


def _entries(paths):
    """Return what is in the folders among ``paths``: a file that is edited leaves its folder's time alone."""
    found = []
    for path in paths:
        try:
            found += [os.path.join(path, name) for name in os.listdir(path)]
        except OSError:
            continue
    return found


def _look(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime, found.st_ino, found.st_size, found.st_uid, found.st_mode
