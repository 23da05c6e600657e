"""A real sshd of our own: free port, own keys, own log, gone at the end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from . import processes
from .accounts import EVERYONE

_START_SECONDS = 10.0
_CONFIG = """\
Port {port}
ListenAddress 0.0.0.0
ListenAddress ::1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized/%u
PidFile none
LogLevel VERBOSE
StrictModes no
UsePAM yes
UseDNS no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
MaxStartups 500
MaxSessions {max_sessions}
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
{settings}
"""


class Sshd:
    """A running sshd on ::1 and all of 127.0.0.0/8, so that each 127.0.0.N is a host of its own.

    Every test account and root may log in with `user_key`; passwords work for the accounts.
    Leaving the block ends the server and every session it holds.
    """

    def __init__(self, max_sessions: int = 10, settings: str = "", read_only: tuple[str, ...] = ()) -> None:
        self._max_sessions = max_sessions
        # More lines of sshd_config(5).
        self._settings = settings
        self._read_only = read_only
        self._lines: list[str] = []

    def __enter__(self) -> Sshd:
        self.folder = Path(tempfile.mkdtemp(prefix="slip-sshd-"))
        self.folder.chmod(0o755)  # sshd reads authorized keys as the user who logs in
        self.user_key = self.folder / "user_key"
        self._make_keys()
        self.port = _free_port()
        config = self.folder / "sshd_config"
        values = {"port": self.port, "folder": self.folder, "max_sessions": self._max_sessions}
        config.write_text(_CONFIG.format(**values, settings=self._settings))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def log_text(self) -> str:
        """Return what sshd has logged so far."""
        return "\n".join(self._lines)

    def accepted_logins(self) -> int:
        """Return how many logins have succeeded so far: the number of ssh connections made."""
        return sum("Accepted " in line and " for " in line for line in list(self._lines))

    def file_sessions(self) -> int:
        """Return how many sftp sessions were started so far."""
        return sum("Starting session: subsystem 'sftp'" in line for line in list(self._lines))

    def sessions(self) -> int:
        """Return how many commands were started so far."""
        return sum("Starting session: command" in line for line in list(self._lines))

    def known_hosts(self) -> str:
        """Return the known_hosts lines that trust this server under each of its addresses."""
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        return "".join(f"[{address}]:{self.port} {kind} {key}\n" for address in ("127.0.0.*", "::1"))

    def cut_sessions(self) -> None:
        """End every connection at once, as a lost link does; the server goes on."""
        for child in processes.children(self.pid):
            processes.end(child)

    def restart(self) -> None:
        """Be as after a reboot: another server on the same port, then the end of every session."""
        sessions = processes.children(self.pid)
        self._process.terminate()
        self._process.wait(_START_SECONDS)
        self._start()
        for session in sessions:
            processes.end(session)

    def _start(self) -> None:
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert program, "sshd is not installed"
        command = [program, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        if self._read_only:
            mounts = "; ".join(
                f"mount --bind {path} {path}; mount -o remount,bind,ro {path}" for path in self._read_only
            )
            command = ["unshare", "--mount", "sh", "-ec", f'{mounts}; exec "$@"', "sh", *command]
        self._listening = False
        self._started = threading.Event()
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
        self.pid = self._process.pid
        threading.Thread(target=self._read_log, args=(self._process,), name="sshd-log", daemon=True).start()
        self._started.wait(_START_SECONDS)
        if not self._listening:
            self._stop()
            raise RuntimeError(f"sshd did not start: {self.log_text()}")

    def _make_keys(self) -> None:
        for name in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]
            subprocess.run([*command, str(self.folder / name)], check=True)
        public = (self.folder / "user_key.pub").read_text()
        authorized = self.folder / "authorized"
        authorized.mkdir()
        for name in ["root", *(account.name for account in EVERYONE)]:
            (authorized / name).write_text(public)

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        """Collect the log until the last session has closed its end; wakes the starter either way."""
        started = self._started
        assert process.stderr
        for line in process.stderr:
            self._lines.append(line.rstrip("\r\n"))
            if "Server listening on" in line:
                self._listening = True
                started.set()
        started.set()

    def _stop(self) -> None:
        sessions = processes.children(self.pid)
        self._process.terminate()
        self._process.wait(_START_SECONDS)
        for session in sessions:
            processes.end(session)
        shutil.rmtree(self.folder)


def _free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
