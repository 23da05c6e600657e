"""The ways of running that are compared: stock, Mitogen and Slipstream, each with a home of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import processes
from kit.accounts import ALICE
from kit.relay import Relay
from kit.sshd import Sshd

PLAYBOOKS = Path(__file__).parent / "playbooks"
HOSTS = 200
_DEADLINE_SECONDS = 1800.0


@dataclass(frozen=True)
class Sample:
    """What one run cost. Seconds of CPU: of the controller, of what it leaves running, of the target."""

    seconds: float
    controller_cpu: float
    daemon_cpu: float
    # Of ssh and whatever else outlives the controller.
    background_cpu: float
    target_cpu: float
    # Highest sum of the controller's side without ssh, 0 if it was not measured.
    memory_mb: float
    # The largest single process of the controller.
    largest_mb: float
    # Through the relay, if one was used.
    bytes_up: float
    bytes_down: float
    round_trips: float


class Way:
    """One way of running, with its own configuration, masters and daemon; warm until it is ended."""

    def __init__(self, name: str, sshd: Sshd, folder: Path, here: processes.Group, target: processes.Group) -> None:
        self.name = name
        self._sshd = sshd
        # The controller's side, and the server with all that it starts.
        self._here = here
        self._target = target
        self._folder = folder / name
        self._config = self._folder / "ansible.cfg"
        self._inventory = self._folder / "hosts.ini"
        # More variables of the runs that begin from now on.
        self.variables: dict[str, str] = {}

    def prepare(self) -> None:
        """Write an empty home."""
        for part in ("home", "cp", "slipstream"):
            (self._folder / part).mkdir(parents=True, mode=0o700)
        self._folder.chmod(0o755)
        self.use_port(self._sshd.port)
        lines = {"stock": "", "mitogen": _mitogen(), "slipstream": "callbacks_enabled = slipstream.core.accelerate\n"}
        self._config.write_text(
            f"[defaults]\ninventory = {self._inventory}\nforks = 20\n{lines[self.name]}"
            f"[ssh_connection]\npipelining = True\ncontrol_path_dir = {self._folder}/cp\n"
        )

    def use_port(self, port: int) -> None:
        """Write the inventory for a server, or a relay before it, at ``port``."""
        known = self._folder / "known_hosts"
        key = self._sshd.known_hosts().split(" ", 1)[1]
        known.write_text(f"[127.0.*.*]:{port} {key}")
        hosts = [f"h{n} ansible_host=127.0.{1 + n // 200}.{1 + n % 200}" for n in range(HOSTS)]
        variables = {
            "ansible_port": port,
            "ansible_user": ALICE.name,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": self._sshd.user_key,
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={known}",
        }
        lines = ["[all]", *hosts, "[all:vars]", *(f"{name}={value}" for name, value in variables.items())]
        self._inventory.write_text("\n".join(lines) + "\n")

    def run(self, playbook: str, limit: str, *options: str, memory: bool = False, relay: Relay | None = None) -> Sample:
        """Run a playbook of this folder for the hosts ``limit``."""
        command = ["ansible-playbook", str(PLAYBOOKS / f"{playbook}.yml"), "-l", limit, *options]
        return self.execute(command, memory, relay)

    def execute(self, command: list[str], memory: bool = False, relay: Relay | None = None) -> Sample:
        """Run a command of this environment."""
        before = self._counts(relay)
        log = self._folder / "log"
        with log.open("wb") as output, processes.MemoryPeak(self._here) if memory else _Nothing() as peak:
            started = time.monotonic()
            process = subprocess.Popen(
                self._here.command([str(Path(sys.prefix, "bin", command[0])), *command[1:]]),
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{self.name}: {' '.join(command)} failed:\n{log.read_text(errors='replace')[-4000:]}")
        here, daemon, target, up, down, trips = (
            now - then for now, then in zip(self._counts(relay), before, strict=True)
        )
        controller = used.ru_utime + used.ru_stime
        largest = used.ru_maxrss / 1024
        # By another clock than the group's.
        background = here - controller - daemon
        return Sample(seconds, controller, daemon, background, target, peak.mb, largest, up, down, trips)

    def _counts(self, relay: Relay | None) -> tuple[float, ...]:
        """Return what only grows: CPU of the controller's side, the daemon, the target; what the relay has seen."""
        daemon = processes.cpu_seconds(processes.named(self._here.pids(), "slipstreamd"))
        counts = (relay.counts.up, relay.counts.down, relay.counts.turns) if relay else (0, 0, 0)
        return self._here.cpu_seconds(), daemon, self._target.cpu_seconds(), *counts

    def cool(self) -> None:
        """End masters and daemons, so that the next run is a cold one."""
        self._here.kill()

    def clean(self) -> None:
        """End everything and remove the home."""
        self.cool()
        shutil.rmtree(self._folder)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "HOME": str(self._folder / "home"),
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self._config),
            "SLIPSTREAM_DIR": str(self._folder / "slipstream"),
            **self.variables,
        }


class _Nothing:
    mb = 0.0

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def names() -> list[str]:
    """Return the ways that this environment has."""
    return ["stock", *(["mitogen"] if importlib.util.find_spec("ansible_mitogen") else []), "slipstream"]


def _mitogen() -> str:
    spec = importlib.util.find_spec("ansible_mitogen")
    if spec is None or not spec.submodule_search_locations:
        return ""
    plugins = Path(next(iter(spec.submodule_search_locations))) / "plugins" / "strategy"
    return f"strategy_plugins = {plugins}\nstrategy = mitogen_linear\n"
