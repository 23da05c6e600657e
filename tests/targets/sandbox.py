"""A throw-away machine for one target: its own mounts, processes, names and network, seen from inside.

The root is an overlay whose upper layer is in memory, so nothing that a target does reaches this machine
or the next target, and all processes end with the sandbox's first one.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import IO

PORT = 2298
KEY = Path("/root/.ssh/id_ed25519")
HOST_KEY = Path("/etc/ssh/sandbox_key")
SSHD_LOG = Path("/var/log/sandbox_sshd.log")
# As the test runner's own work folders: not ASCII.
SUFFIX = "-ÅÑŚÌβŁÈ"
# What ansible-test's containers allow.
OPEN_FILES = 1024


def run(*command: str) -> None:
    """Run a command; it must succeed."""
    subprocess.run(command, check=True)


def new_root(top: Path, shared: Path, image: Path | None, needed: Iterable[Path]) -> None:
    """Stand in an overlay of ``/``, with the layer of ``image`` over it; only ``shared`` is the same folder.

    Other file systems are overlaid too where they hold a folder that is ``needed``.
    """
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(top))
    base, root = top / "base", top / "root"
    base.mkdir()
    root.mkdir()
    if image:
        run("mount", "-o", "loop,ro,noload", str(image), str(base))
    _overlay(f"{base}/upper:/" if image else "/", top / "layer", root)
    for number, point in enumerate(sorted({_mount_point(path) for path in needed} - {Path("/")})):
        inside = root / point.relative_to("/")
        inside.mkdir(parents=True, exist_ok=True)
        _overlay(str(point), top / f"layer-{number}", inside)
    run("mount", "--rbind", "/sys", str(root / "sys"))
    _own_devices(root / "dev")
    run("mount", "-t", "proc", "proc", str(root / "proc"))
    inside = root / shared.relative_to("/")
    inside.mkdir(parents=True, exist_ok=True)
    run("mount", "--bind", str(shared), str(inside))
    os.chroot(root)
    os.chdir("/")
    # Who holds them does not live here.
    for lock in Path("/etc").glob("*.lock"):
        lock.unlink()
    _plain_root_account()


def _own_devices(folder: Path) -> None:
    """Have the machine's devices by files of the sandbox's own: a target may replace ``/dev/null``."""
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder))
    for entry in os.scandir("/dev"):
        here, found = folder / entry.name, entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            here.symlink_to(os.readlink(entry))
        elif entry.is_dir():
            here.mkdir()
            run("mount", "--rbind", entry.path, str(here))
        elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            os.mknod(here, found.st_mode, found.st_rdev)
            os.chown(here, found.st_uid, found.st_gid)
            here.chmod(stat.S_IMODE(found.st_mode))
    (folder / "shm").mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", str(folder / "shm"))


def _overlay(lower: str, layer: Path, where: Path) -> None:
    upper, work = layer / "upper", layer / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "overlay", "-o", options, str(where))


def _mount_point(path: Path) -> Path:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = (Path(line.split()[4].encode().decode("unicode_escape")) for line in lines)
    return max((point for point in points if path.is_relative_to(point)), key=lambda point: len(point.parts))


def _plain_root_account() -> None:
    for name in ("bashrc", "profile"):
        distributed = Path("/usr/share/base-files", f"dot.{name}")
        if distributed.exists():
            shutil.copy(distributed, f"/root/.{name}")
    # Accounts of the targets may need a Python below it.
    os.chmod("/root", 0o711)


def start_network() -> None:
    """Bring the loopback interface of a private network up."""
    run("ip", "link", "set", "lo", "up")


def start_sshd(everywhere: bool) -> None:
    """Start an sshd that lets root in with ``KEY``; it listens before this returns."""
    KEY.parent.mkdir(mode=0o700, exist_ok=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    for key in (KEY, HOST_KEY):
        key.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    shutil.copy(f"{KEY}.pub", KEY.with_name("authorized_keys"))
    known = " ".join(Path(f"{HOST_KEY}.pub").read_text().split()[:2])
    KEY.with_name("known_hosts").write_text(f"localhost,127.0.0.1,[localhost]:{PORT},[127.0.0.1]:{PORT} {known}\n")
    listen = "ListenAddress 0.0.0.0\nPort 22\n" if everywhere else "ListenAddress 127.0.0.1\n"
    config = Path("/etc/ssh/sandbox_sshd")
    config.write_text(
        f"Port {PORT}\n{listen}HostKey {HOST_KEY}\nPidFile /run/sandbox_sshd.pid\n"
        "PermitRootLogin yes\nPasswordAuthentication yes\nUsePAM yes\nStrictModes no\nUseDNS no\n"
        "MaxStartups 500\nMaxSessions 500\nLogLevel VERBOSE\nSubsystem sftp internal-sftp\n"
    )
    # It goes into the background when its sockets listen.
    run("/usr/sbin/sshd", "-f", str(config), "-E", str(SSHD_LOG))


def add_login(name: str) -> None:
    """Make an account that ``KEY`` opens and that becomes root by sudo without a password."""
    run("useradd", "--create-home", "--shell", "/bin/bash", name)
    folder = Path("/home", name, ".ssh")
    folder.mkdir(mode=0o700)
    shutil.copy(f"{KEY}.pub", folder / "authorized_keys")
    for path in (folder, folder / "authorized_keys"):
        shutil.chown(path, name, name)
    rule = Path("/etc/sudoers.d", name)
    rule.write_text(f"{name} ALL=(ALL:ALL) NOPASSWD: ALL\n")
    rule.chmod(0o440)


def limit_open_files() -> None:
    """Set the soft limit to that of the test runner's containers."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def execute(command: list[str], folder: Path, environment: dict[str, str], log: IO[str]) -> int:
    """Run a command without a terminal or input; return its exit code."""
    log.write(f"+++ {' '.join(command)}\n")
    log.flush()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
    )
    return done.returncode


def end_everything() -> float:
    """Kill all processes of the sandbox, whose first one we are; return the CPU seconds of them all."""
    os.kill(-1, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(used.ru_utime + used.ru_stime, 2)
