"""Run ansible-playbook against the private sshd, with or without Slipstream."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

from . import inventory, processes
from .accounts import Account
from .interpreters import target_python
from .sshd import Sshd

Mode = Literal["stock", "slipstream"]
MODES: tuple[Mode, ...] = get_args(Mode)

_CALLBACKS = Path(__file__).parent / "callbacks"
_VAULT_PASSWORD = Path(__file__).parent.parent / "playbooks" / "files" / "vault_password"
_DEADLINE_SECONDS = 900.0
_CONFIG = """\
[defaults]
inventory = {folder}/inventory.json
callback_plugins = {callbacks}
host_key_checking = True
vault_password_file = {vault_password}
{mode}
[ssh_connection]
pipelining = True
control_path_dir = {folder}/cp
"""
_MODE_LINES: dict[Mode, str] = {
    "stock": "",
    "slipstream": "callbacks_enabled = slipstream.core.accelerate",
}
# What a developer may set to look inside, and what tests set; nothing else of the caller's environment reaches a run.
_PASSED_ON = ("SLIPSTREAM_", "RUST_", "_ANSIBLE_COVERAGE_")


@dataclass(frozen=True)
class Event:
    """One callback event: `result` is all that a callback plugin is given."""

    kind: str
    host: str
    task: str
    result: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What a run of ansible-playbook left behind."""

    rc: int
    stdout: str
    stderr: str
    seconds: float
    events: list[Event] = field(repr=False)


class Controller:
    """An Ansible controller with its own home, configuration, ssh masters and daemon.

    Runs inside one block share masters and daemon: the first is cold, the next ones are warm.
    Two controllers on the same folder, one after the other, can't be told apart by paths. What is in
    ``environment`` wins over the configuration.
    """

    def __init__(
        self,
        venv: Path,
        mode: Mode,
        sshd: Sshd,
        folder: Path,
        defaults: str = "",
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> None:
        """Take what every run shares; ``defaults`` are more lines for that section of ansible.cfg.

        ``account`` is whose all runs are, in the place of our own.
        """
        self._as = ["setpriv", "--reuid", account.name, "--regid", account.name, "--init-groups"] if account else []
        self._account = account
        self._defaults = defaults
        self._venv = venv
        self._mode: Mode = mode
        self._sshd = sshd
        self._folder = folder
        # More variables of the runs that begin from now on.
        self.variables = dict(environment or {})
        self.work = folder / "work"
        self.slipstream_folder = folder / "slipstream"
        self._recorded = folder / "events.jsonl"

    def __enter__(self) -> Controller:
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("home", "cp", "slipstream"):
            (self._folder / name).mkdir(parents=True, mode=0o700)
        self._folder.chmod(0o755)  # the accounts must reach `work`
        inventory.write(self._sshd, self._folder, self.work, target_python(self._venv))
        lines = f"{_MODE_LINES[self._mode]}\n{self._defaults}"
        config = _CONFIG.format(folder=self._folder, callbacks=_CALLBACKS, vault_password=_VAULT_PASSWORD, mode=lines)
        (self._folder / "ansible.cfg").write_text(config)
        if self._account:
            self._recorded.touch()
            for path in (self._folder, *self._folder.rglob("*")):
                shutil.chown(path, self._account.name, self._account.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for master in (self._folder / "cp").iterdir():
            command = ["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={master}", "any"]
            subprocess.run(command, capture_output=True, check=False)
        processes.end_listeners(self.slipstream_folder)
        shutil.rmtree(self._folder)

    def run(self, playbook: Path, *options: str, deadline_seconds: float = _DEADLINE_SECONDS) -> Run:
        """Run `playbook` in an empty `work` folder that every account may write to.

        Raises:
            TimeoutError: the run was killed at its deadline; the message has its last output.
        """
        process = self.start(playbook, *options)
        started = time.monotonic()
        try:
            stdout, stderr = process.communicate(timeout=deadline_seconds)
        except subprocess.TimeoutExpired as late:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            said = b"\n".join(filter(None, (late.stdout, late.stderr))).decode(errors="backslashreplace")
            raise TimeoutError(f"{playbook.name} took {deadline_seconds} s\n{said}") from None
        seconds = time.monotonic() - started
        events = [Event(**json.loads(line)) for line in self._recorded.read_text().splitlines()]
        return Run(process.returncode, stdout, stderr, seconds, events)

    def run_settled(self, playbook: Path, *options: str, deadline_seconds: float = _DEADLINE_SECONDS) -> Run:
        """Run `playbook` as `run` does, again where a race of stock's own shows.

        Stock may find that ssh has ended by writing to it, and then says that instead of ssh's words.
        """
        for _ in range(10):
            run = self.run(playbook, *options, deadline_seconds=deadline_seconds)
            if self._mode != "stock" or "Broken pipe" not in run.stdout + str(run.events):
                break
        return run

    def start(self, playbook: Path, *options: str, program: str = "ansible-playbook") -> subprocess.Popen[str]:
        """Start `playbook` as `run` does and return at once; the caller waits for it or ends it."""
        return subprocess.Popen(
            self.command(playbook, *options, program=program),
            cwd=playbook.parent,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )

    def command(self, playbook: Path, *options: str, program: str = "ansible-playbook") -> list[str]:
        """Return the command line of a run, and empty the `work` folder for it."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.work.chmod(0o777)
        self._recorded.write_text("")
        # Whoever runs the tests may ignore signals (nohup); modules would show it.
        return ["env", "--default-signal", *self._as, str(self._venv / "bin" / program), *options, str(playbook)]

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `slipstream` command with this controller's settings."""
        command = [*self._as, str(self._venv / "bin" / "slipstream"), *arguments]
        return subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=30, check=False)

    def status(self) -> dict[str, Any]:
        """Return what the daemon says of itself."""
        report: dict[str, Any] = json.loads(self.tool("status", "--json").stdout)
        return report

    def environment(self) -> dict[str, str]:
        """Return the environment of a run."""
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        return {
            **passed_on,
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder / "home"),
            "LANG": "C.UTF-8",
            # For the local connection too, which does not read ssh's section.
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_CONFIG": str(self._folder / "ansible.cfg"),
            "SLIPSTREAM_DIR": str(self.slipstream_folder),
            "SLIPSTREAM_TEST_EVENTS": str(self._recorded),
            **self.variables,
        }
