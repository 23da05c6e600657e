"""Chores: what stock starts a shell for around a module, done by an agent of the login account.

Stock's shell plugins write these commands: they make a temporary folder, allow what was put there to be read and run,
remove it, expand a home. Who wrote the command that comes to the connection knows what it is for; only the name of a
new folder is read from its text, where that is word for word as expected. What an agent can't do is left to stock's
shell, which has the words for it.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleAuthenticationFailure, AnsibleError

from ..client import Json

# Stock's command for a temporary folder, in a folder whose name no shell would change.
MAKE_FOLDER = re.compile(
    r'\( umask 77 && mkdir -p "` echo (?P<base>/[\w./+-]+) `" ?&& mkdir "` echo (?P=base)/(?P<name>[\w.-]+) `" ?'
    r'&& echo (?P=name)="` echo (?P=base)/(?P=name) `" \)',
    re.ASCII,
)
EXPAND_HOME = re.compile(r"echo ~(?P<user>[\w.-]*)", re.ASCII)
ALLOW = re.compile(r"u\+(?P<what>[rwx]+)")
OWNERS_BITS = {"r": 0o400, "w": 0o200, "x": 0o100}
# What stock adds to every command, against a race of ssh's that newer versions take for past.
AFTER_COMMANDS = (" && sleep 0", "")
# Printable, and from the root.
PLAIN_PATH = re.compile(r"/[ -~]*", re.ASCII)
# More than that goes at once, by itself.
HELD_MAX = 64 << 10


@dataclass
class Known:
    """What chores have said of one account so far, to be said again while the target agrees."""

    # By the user's name as a command has it.
    homes: dict[str, str] = field(default_factory=dict)
    # A guess was wrong: homes move here, or folders are made in a way that is not understood.
    guesses_fail: bool = False
    # What shells print there before every command: standard output, standard error.
    noise: tuple[bytes, bytes] = (b"", b"")


# By the link's identity.
KNOWN: defaultdict[str, Known] = defaultdict(Known)


class GuessedWrong(AnsibleAuthenticationFailure):  # type: ignore[misc]
    """What was known is so no more: the folder has to be asked for anew, and nothing was done.

    Of this base because stock's ssh connection must not try again on its own.
    """


@dataclass
class HeldFile:
    """A file that is written with what comes next, in any case before the next command."""

    in_path: str
    out_path: str
    mode: int
    content: bytes

    @property
    def chore(self) -> Json:
        """What the agent is to do."""
        return {"do": "write", "path": self.out_path, "mode": self.mode, "size": len(self.content)}

    def failure(self, why: str) -> AnsibleError:
        """Return what stock would have raised for it."""
        words = f"failed to transfer file to {self.in_path} {self.out_path}:\n\n{self.out_path}: {why}\n"
        return AnsibleError(words)


@dataclass
class HeldMode:
    """The permission to run what waits, which waits with it. ``line`` is stock's command line for it."""

    line: str
    chore: Json
    content = b""

    @staticmethod
    def failure(why: str) -> AnsibleError:
        """Return what stock would have raised for it."""
        return AnsibleError(f"Failed to set permissions on remote files (rc: 1, err: {why})")


@dataclass
class Chores:
    """Those of one connection."""

    held: list[HeldFile | HeldMode] = field(default_factory=list)
    # The command that was written last, and what it is for.
    _command: str = ""
    _chore: Json | None = None
    # The temporary folder that an agent has made last.
    folder: str = ""
    # It went with the module that was its last, and stock has not asked for that yet.
    tidied: bool = False
    # The home that a command was answered with from what was known.
    guessed: Json | None = None

    def watch(self, shell: Any) -> None:
        """Note what a connection's shell plugin writes from now on."""
        for name, meaning in (
            ("expand_user", self._of_expand_user),
            ("mkdtemp", self._of_mkdtemp),
            ("chmod", self._of_chmod),
            ("remove", self._of_remove),
        ):
            setattr(shell, name, self._noting(getattr(shell, name), meaning))

    def of(self, line: str) -> Json | None:
        """Return what a connection's command line is for, None if it is not one of these."""
        return self._chore if self._end(line) else None

    def instead(self, line: str, command: str) -> str:
        """Return the command line with another command in the place of the one that it is of."""
        end = self._end(line)
        return line.removesuffix(end) + end.replace(_inside_quotes(self._command), _inside_quotes(command))

    def _end(self, line: str) -> str:
        """Return the end of the line that stock has made of the command, empty if it is of another one."""
        for more in AFTER_COMMANDS:
            end = f" -c {shlex.quote(self._command + more)}"
            if line.endswith(end):
                return end
        return ""

    def guess(self, chore: Json, known: Known) -> str | None:
        """Return where a home is, if that is known; the agent that makes a folder there has to agree."""
        if chore["do"] != "home" or chore["user"] not in known.homes or known.guesses_fail:
            return None
        self.guessed = {"user": chore["user"], "path": known.homes[chore["user"]]}
        return known.homes[chore["user"]] + "\n"

    def has_room_for(self, path: str, size: int) -> bool:
        """Tell whether a file may wait: small, and in a folder that nobody knows of yet."""
        return self._is_inside(path) and len(self.content) + size <= HELD_MAX

    def may_wait(self, chore: Json) -> bool:
        """Tell whether a chore can go with the files that wait."""
        return bool(self.held) and chore["do"] == "allow" and all(map(self._is_inside, chore["paths"]))

    def _is_inside(self, path: str) -> bool:
        return bool(self.folder) and path.startswith(f"{self.folder}/") and ".." not in path.split("/")

    @property
    def content(self) -> bytes:
        """That of the files that wait, one after the other."""
        return b"".join(item.content for item in self.held)

    def done(self, chore: Json, said: str, known: Known) -> str:
        """Note that a chore was done, and return what stock's command would have printed."""
        if chore["do"] == "make_folder":
            self.folder = f"{chore['base']}/{chore['name']}"
            return f"{chore['name']}={self.folder}\n"
        if chore["do"] == "remove":
            self.folder, self.tidied = "", False
        if chore["do"] == "home" and PLAIN_PATH.fullmatch(said):
            known.homes[chore["user"]] = said
        return f"{said}\n" if said else ""

    def _noting(self, stock: Any, meaning: Any) -> Any:
        def note(*args: Any, **kwargs: Any) -> Any:
            self._command = stock(*args, **kwargs)
            self._chore = meaning(self._command, *args, **kwargs)
            return self._command

        return note

    @staticmethod
    def _of_expand_user(command: str, *_args: Any, **_kwargs: Any) -> Json | None:
        found = EXPAND_HOME.fullmatch(command)
        return {"do": "home", "user": found["user"]} if found else None

    def _of_mkdtemp(self, command: str, *_args: Any, **_kwargs: Any) -> Json | None:
        found = MAKE_FOLDER.fullmatch(command)
        if found is None:
            return None
        home = {} if self.guessed is None else {"home": self.guessed}
        return {"do": "make_folder", **found.groupdict(), **home}

    @staticmethod
    def _of_chmod(_command: str, paths: Any, mode: str) -> Json | None:
        found = ALLOW.fullmatch(mode)
        names = [str(path) for path in paths]
        if found is None or not names or not all(PLAIN_PATH.fullmatch(name) for name in names):
            return None
        return {"do": "allow", "paths": names, "mode": sum(OWNERS_BITS[letter] for letter in set(found["what"]))}

    def _of_remove(self, _command: str, path: str, recurse: bool = False) -> Json | None:
        mine = recurse and self.folder and path.rstrip("/") == self.folder
        return {"do": "remove", "path": self.folder} if mine else None


def _inside_quotes(command: str) -> str:
    return shlex.quote(f" {command}")[2:-1]
