"""The accounts that tests log in to. Made on this machine, so tests need root."""

from __future__ import annotations

import fcntl
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import processes

_SUDOERS = Path("/etc/sudoers.d")
_ROOT_TMP = Path("/root/.ansible/tmp")
_LOCK = Path("/run/slipstream-test-accounts.lock")

# What is ended may have begun another process meanwhile.
_ROUNDS = 10


@dataclass(frozen=True)
class Account:
    """A login with a known password. `sudo` is what it may do and `defaults` how, in the words of sudoers(5)."""

    name: str
    password: str
    sudo: str = ""
    defaults: str = ""
    shell: str = "/bin/bash"

    def create(self) -> None:
        """Make the account and its sudoers file; what is there already stays."""
        if not self.exists():
            _run("useradd", "--create-home", "--shell", self.shell, self.name)
        subprocess.run(["chpasswd"], input=f"{self.name}:{self.password}\n", text=True, check=True)
        if self.sudo:
            rule = _SUDOERS / self.name
            # The lecture is printed once per account, so a second run would read otherwise.
            defaults = self.defaults or "lecture=never"
            rule.write_text(f"Defaults:{self.name} {defaults}\n{self.name} {self.sudo}\n")
            rule.chmod(0o440)

    def remove(self) -> None:
        """End the account's own processes and remove all that `create` made."""
        if self.exists():
            self._end_processes()
            _run("userdel", "--remove", self.name)
        (_SUDOERS / self.name).unlink(missing_ok=True)

    def _end_processes(self) -> None:
        uid = pwd.getpwnam(self.name).pw_uid
        for _ in range(_ROUNDS):
            for pid in (running := processes.owned_by(uid)):
                processes.end(pid, signal.SIGKILL)
            if not running:
                break

    def exists(self) -> bool:
        """Tell whether the machine knows the account."""
        try:
            pwd.getpwnam(self.name)
        except KeyError:
            return False
        return True


ALICE = Account("slip-alice", "alice-Quay7.lantern", "ALL=(ALL) NOPASSWD: ALL")
BOB = Account("slip-bob", "bob-Drift4.harbour", "ALL=(ALL) ALL")
CAROL = Account("slip-carol", "carol-Moss9.anchor")
TESS = Account("slip-tess", "tess-Fern2.kettle", "ALL=(ALL) NOPASSWD: ALL", shell="/bin/tcsh")
FINN = Account("slip-finn", "finn-Plum8.rudder", "ALL=(ALL) NOPASSWD: ALL", shell="/usr/bin/fish")
NORA = Account("slip-nora", "nora-Rook5.pebble", shell="/usr/sbin/nologin")
# Lectured and insulted in a language of its own; a password of theirs is asked for every time.
DORA = Account(
    "slip-dora",
    "dora-Reef5.tackle",
    "ALL=(ALL) ALL",
    'lecture=always, passprompt_override, passprompt="Das Geheimnis von %p: ", insults, timestamp_timeout=0',
)
# May do everything, but only on a terminal.
ERIN = Account("slip-erin", "erin-Fjord2.mast", "ALL=(ALL) NOPASSWD: ALL", "lecture=never, requiretty")
EVERYONE = (ALICE, BOB, CAROL, TESS, FINN, NORA, DORA, ERIN)


def forget_ansible() -> None:
    """Make every account one that Ansible has never used: the first use of a home folder warns.

    Only for whoever has the machine alone. Root's home is not ours to empty, so root is never new.
    """
    for account in EVERYONE:
        shutil.rmtree(Path(pwd.getpwnam(account.name).pw_dir) / ".ansible", ignore_errors=True)
    _ROOT_TMP.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def created() -> Iterator[None]:
    """Have all accounts while the block runs.

    Test sessions may overlap: the last one to leave removes the accounts, held by a shared lock.
    """
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        for account in EVERYONE:
            account.create()
        try:
            yield
        finally:
            if _is_last(lock):
                for account in EVERYONE:
                    account.remove()


def _is_last(lock: IO[str]) -> bool:
    """Tell whether no other session holds the accounts, and keep new ones waiting if so."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _run(*command: str) -> None:
    """Run a system tool; its words become the error when it fails."""
    assert shutil.which(command[0]), f"{command[0]} is not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # userdel(8) complains about a missing mail spool, and yet succeeds.
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
