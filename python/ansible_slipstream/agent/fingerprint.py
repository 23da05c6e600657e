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
    "/etc/zshenv",
    "/etc/zsh/zshenv",
    "/etc/csh.cshrc",
    "/etc/fish/config.fish",
    "/etc/fish/conf.d",
)
HOME_FILES = (
    ".bashrc",
    ".profile",
    ".bash_profile",
    ".zshenv",
    ".cshrc",
    ".tcshrc",
    ".config/fish/config.fish",
    ".config/fish/conf.d",
    ".pam_environment",
    ".ssh/environment",
    ".ssh/rc",
)


class Fingerprint(object):
    """How the machine looked when this agent started."""

    def __init__(self):
        home = os.path.expanduser("~")
        login = list(LOGIN_FILES) + [os.path.join(home, name) for name in HOME_FILES]
        paths = login + _entries(login)
        # An upgraded interpreter, an installed package, a .pth file that is new or has new lines.
        paths += [sys.executable, os.path.realpath(sys.executable), os.path.dirname(os.__file__)]
        folders = [entry for entry in sys.path if entry]
        paths += folders + [path for path in _entries(folders) if path.endswith(".pth")] + _user_site()
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


def _user_site():
    """Return the folder of the account's own packages, which is on the path only if it is there at the start."""
    site = sys.modules.get("site")
    if not getattr(site, "ENABLE_USER_SITE", False):
        return []
    return [site.getusersitepackages()]


def _look(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime, found.st_ino, found.st_size, found.st_uid, found.st_mode
