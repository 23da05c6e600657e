"""Runs one playbook under stock Ansible and under Slipstream, side by side, and prints both times.

The target is this machine: a private sshd on loopback, for this user, with keys of its own. Nothing
outside a temporary folder is touched.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
SSHD_START_S = 10.0
SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""
ANSIBLE_CONFIG = """\
[defaults]
inventory = {folder}/inventory
interpreter_python = {python}
{door}
[ssh_connection]
pipelining = True
control_path_dir = {folder}/cp
"""
INVENTORY = (
    "target ansible_host=127.0.0.1 ansible_port={port} ansible_user={user} "
    "ansible_ssh_private_key_file={folder}/user_key "
    "ansible_ssh_common_args='-o UserKnownHostsFile={folder}/known_hosts'\n"
)
DOOR = "callbacks_enabled = slipstream.core.accelerate"


def main() -> None:
    """Run the playbook four times: stock and Slipstream, each cold and warm."""
    folder = Path(tempfile.mkdtemp(prefix="slipstream-demo-"))
    try:
        with sshd(folder) as port:
            prepare(folder, port)
            times = {mode: [run(folder, mode) for _ in ("cold", "warm")] for mode in ("stock", "slipstream")}
            show(times)
            say(tool(folder, "status"))
            tool(folder, "stop")
            for master in (folder / "cp").iterdir():
                subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={master}", "x"], capture_output=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def sshd(folder: Path) -> Iterator[int]:
    """Start an sshd for this user and yield its port."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        sys.exit("sshd is not installed: apt-get install openssh-server")
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "sshd_config"
    config.write_text(SSHD_CONFIG.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = subprocess.Popen([program, "-D", "-e", "-f", config], stderr=subprocess.PIPE, text=True)
    listening = threading.Event()
    log: list[str] = []
    # Sessions hold sshd's standard error as long as they live, so nobody may wait for its end.
    threading.Thread(target=read_log, args=(server, log, listening), daemon=True).start()
    try:
        if not listening.wait(SSHD_START_S) or server.poll() is not None:
            sys.exit(f"sshd did not start: {''.join(log)}")
        yield port
    finally:
        server.terminate()
        server.wait()


def read_log(server: subprocess.Popen[str], log: list[str], listening: threading.Event) -> None:
    """Collect sshd's words; wakes the starter when it listens, or has ended."""
    for line in server.stderr or ():
        log.append(line)
        if "Server listening" in line:
            listening.set()
    listening.set()


def prepare(folder: Path, port: int) -> None:
    """Write inventory, known hosts and one ansible.cfg a mode; they differ in one line."""
    names = {"folder": folder, "port": port, "user": getpass.getuser(), "python": sys.executable}
    (folder / "inventory").write_text(INVENTORY.format(**names))
    key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    for mode, door in (("stock", ""), ("slipstream", DOOR)):
        (folder / f"{mode}.cfg").write_text(ANSIBLE_CONFIG.format(door=door, **names))


def environment(folder: Path, mode: str) -> dict[str, str]:
    """Return the environment of a run; the daemon's state lives in the demo's folder."""
    own = {"ANSIBLE_CONFIG": f"{folder}/{mode}.cfg", "SLIPSTREAM_DIR": f"{folder}/state", "DEMO_FOLDER": str(folder)}
    return {**os.environ, **own}


def run(folder: Path, mode: str) -> float:
    """Run the playbook once and return the seconds it took."""
    say(f"\n== {mode}")
    started = time.monotonic()
    command = [BIN / "ansible-playbook", HERE / "site.yml"]
    outcome = subprocess.run(command, env=environment(folder, mode), capture_output=True, text=True)
    seconds = time.monotonic() - started
    if outcome.returncode != 0:
        sys.exit(f"{outcome.stdout}\n{outcome.stderr}\nthe playbook failed under {mode}")
    say(outcome.stdout[outcome.stdout.index("PLAY RECAP") :].strip())
    return seconds


def tool(folder: Path, command: str) -> str:
    """Run a subcommand of ``slipstream``."""
    outcome = subprocess.run(
        [BIN / "slipstream", command], env=environment(folder, "slipstream"), capture_output=True, text=True
    )
    return outcome.stdout.strip()


def show(times: dict[str, list[float]]) -> None:
    """Print both times and their ratio."""
    say(f"\n{'':12}{'first run':>12}{'second run':>12}")
    for mode, (cold, warm) in times.items():
        say(f"{mode:12}{cold:10.2f} s{warm:10.2f} s")
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    say(f"{'ratio':12}{ratios[0]:11.1f}x{ratios[1]:11.1f}x\n")


def say(text: str) -> None:
    """Print for the person who looks on."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
