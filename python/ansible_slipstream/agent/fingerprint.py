"""What a fresh login or a fresh interpreter would notice: compared before every job."""

from __future__ import absolute_import

import os
import re
import sys

# Groups, passwords, limits, sudo rules, environment, locale and time zone are read once, at login. The last of /etc are
# read as a library is loaded: by the C library and libselinux.
FILES = """
/etc/
 group passwd shadow environment locale.conf default/locale localtime login.defs login.conf
 pam.d security security/limits.conf security/limits.d security/pam_env.conf
 sudoers sudoers.d sudoers-rs sudo.conf doas.conf doas.d
 profile profile.d bash.bashrc bashrc zshenv zprofile zsh/zshenv zsh/zprofile csh.cshrc csh.login
 fish/config.fish fish/conf.d
 ld.so.cache ld.so.preload nsswitch.conf selinux/config
/usr/local/etc/ sudoers sudoers.d doas.conf
/usr/lib/ locale locale/locale-archive
~/
 .bashrc .profile .bash_profile .bash_login .zshenv .zprofile .cshrc .tcshrc .login
 .config/fish/config.fish .config/fish/conf.d .pam_environment .ssh/environment .ssh/rc
"""
# Where Debian, Red Hat, Homebrew and OpenSSL itself have its settings; conda's are below its interpreter.
OPENSSL = "/etc/ssl /etc/pki/tls /opt/homebrew/etc/openssl@3 /usr/local/etc/openssl@3 /usr/local/ssl"
OPENSSL_INCLUDE = re.compile(r"^\s*\.include\s*=?\s*(\S+)".encode("ascii"), re.M)
STANDARD_LIBRARY = os.path.dirname(os.__file__)


class Fingerprint(object):
    """How the machine looked when this agent started."""

    def __init__(self):
        read_once = _files() + _openssl()
        paths = read_once + _entries(read_once)
        # An upgraded interpreter, an installed package, a .pth file that is new or has new lines.
        paths += [sys.executable, os.path.realpath(sys.executable), STANDARD_LIBRARY] + _virtual_environment()
        folders = [entry for entry in sys.path if entry]
        paths += folders + [path for path in _entries(folders) if path.endswith(".pth")] + _user_site()
        self._paths = sorted(set(paths))
        self._looks = [_look(path) for path in self._paths]
        self.watch_loaded()

    def watch_loaded(self):
        """Watch what this process has loaded by now: what its modules load themselves must fit to that.

        Linux tells which libraries these are. The standard library's folder tells when that is replaced.
        """
        for path in _mapped() + [_file_of(module) for module in list(sys.modules.values())]:
            own = path.startswith(STANDARD_LIBRARY + "/") and "-packages/" not in path
            if not own and os.path.exists(path):
                self.watch(path)

    def watch(self, path):
        """Watch the interpreter's place too: a wrapper there is not what ``sys.executable`` says."""
        if path not in self._paths:
            self._paths.append(path)
            self._looks.append(_look(path))

    def changed(self):
        """Return the first path that looks different now, in words that JSON can carry, or None."""
        for path, look in zip(self._paths, self._looks):
            if _look(path) != look:
                return repr(path)
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


def _files():
    """Return the paths of ``FILES``: a word that ends with a slash is the folder of those that follow."""
    folder, paths = "", []
    for word in FILES.split():
        if word.endswith("/"):
            folder = os.path.expanduser(word)
        else:
            paths.append(folder + word)
    return paths


def _openssl():
    """Return OpenSSL's settings, and what they include: what is allowed is decided as it is loaded."""
    folders = OPENSSL.split() + [os.path.join(getattr(sys, "base_prefix", sys.prefix), "ssl")]
    paths = [os.path.join(folder, "openssl.cnf") for folder in folders]
    if os.environ.get("OPENSSL_CONF"):
        paths.append(os.path.abspath(os.environ["OPENSSL_CONF"]))
    included = []
    for path in filter(os.path.isfile, paths):
        try:
            with open(path, "rb") as settings:
                included += [os.path.abspath(_native(found)) for found in OPENSSL_INCLUDE.findall(settings.read())]
        except (OSError, IOError):
            continue
    return paths + included


def _virtual_environment():
    """Return the places in which an interpreter looks for the settings of its virtual environment."""
    folder = os.path.dirname(sys.executable)
    return [os.path.join(place, "pyvenv.cfg") for place in (folder, os.path.dirname(folder))]


def _mapped():
    """Return the libraries that this process has mapped."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            return [_native(line[line.index(b"/") : -1]) for line in maps if b"xp " in line and b"/" in line]
    except (OSError, IOError):
        return []


def _file_of(module):
    """Return the file that a module was read from, empty if it says none, or something else than a path."""
    try:
        path = module.__file__
        path = path[:-1] if path.endswith(".pyc") else path
    except Exception:
        return ""
    return path if isinstance(path, str) else ""


def _native(path):
    """Return a path as this Python has them, whatever its encoding is."""
    return path if str is bytes else os.fsdecode(path)


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
