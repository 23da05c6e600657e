"""Masters of the user's own: they are used where one runs, and left where one is wanted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.accounts import ALICE
from kit.plays import Play
from kit.sshd import Sshd

OF_ITS_OWN = """\
- {name: module, command: id -un}
- {name: raw, raw: id -un}
- {name: copy, copy: {content: x, dest: "{{ work }}/x"}}
- meta: reset_connection
- {name: after, raw: id -un}
"""
# What else is on the controller goes the same way, without a key.
OF_OTHERS = """\
- {name: module, command: id -un}
- name: another program
  command: ssh -F none -o BatchMode=yes -o ControlPath=MASTER -p {{ ansible_port }} {{ ansible_host }} id -un
  delegate_to: localhost
- name: it is over
  command: ssh -F none -O exit -o ControlPath=MASTER {{ ansible_host }}
  delegate_to: localhost
"""


@contextmanager
def master_by_hand(sshd: Sshd, path: Path) -> Iterator[None]:
    """What a user leaves who has logged in with a key, or a code, that Ansible does not have."""
    ssh = ["ssh", "-F", "none", "-o", f"ControlPath={path}"]
    trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    login = ["-i", str(sshd.user_key), "-p", str(sshd.port), "-l", ALICE.name, *trust]
    subprocess.run([*ssh, "-M", "-N", "-f", *login, "127.0.0.1"], check=True, timeout=30, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run([*ssh, "-O", "exit", "any"], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize(
    "options",
    [
        "-o ControlMaster=auto -o ControlPersist=5 -o ControlPath={folder}/own-%C",
        "-o ControlMaster=no -o ControlPath=none",
        "-o 'ControlMaster no' -oControlPersist=no",
        "-o ControlPersist=no -o ControlPersist=60s -o ControlMaster=auto",
        "-F {folder}/config",
        "",
        # These win over -o, wherever they stand.
        "-S none",
        "-4CSnone -o ControlMaster=auto -o ControlPersist=5",
        "-M -S {folder}/own",
    ],
)
def test_masters_of_the_users_own(play: Play, options: str) -> None:
    """Whether the connection is shared is what raw's last words say."""
    play.file("config", f"Host *\n  ControlMaster auto\n  ControlPersist 5\n  ControlPath {play.folder}/cfg-%C\n")
    variables = {"ansible_ssh_args": options.format(folder=play.folder)}
    if "S" in options:
        # To sftp and scp it means something else.
        variables["ansible_ssh_transfer_method"] = "piped"
    play.compare("plain", OF_ITS_OWN, "-e", json.dumps(variables))


@pytest.mark.parametrize("options", ["-o ControlPath={folder}/hand", "-S {folder}/hand", "-F {folder}/config"])
def test_master_that_runs_is_used(play: Play, sshd: Sshd, options: str) -> None:
    """Nobody gets in but over it."""
    play.file("config", f"Host *\n  ControlMaster auto\n  ControlPersist 4h\n  ControlPath {play.folder}/hand\n")
    other_key = play.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other_key)], check=True)
    variables = {
        "ansible_ssh_args": options.format(folder=play.folder) + " -o IdentitiesOnly=yes",
        "ansible_ssh_private_key_file": str(other_key),
        # To sftp and scp, -S means something else.
        "ansible_ssh_transfer_method": "piped",
    }
    tasks = OF_ITS_OWN.replace("- meta: reset_connection\n", "- {name: become, command: id -un, become: true}\n")
    with master_by_hand(sshd, play.folder / "hand"):
        stock = play.compare("plain", tasks, "-e", json.dumps(variables))
    assert stock.rc == 0, stock.stdout


@pytest.mark.parametrize("by", ["arguments", "variable", "configuration"])
def test_master_is_left_for_others(play: Play, by: str) -> None:
    master = play.folder / "own"
    persists = "-o ControlMaster=auto -o ControlPersist=60"
    play.file("config", f"Host *\n  ControlMaster auto\n  ControlPersist 1m\n  ControlPath {master}\n")
    variables = {
        "arguments": {"ansible_ssh_args": f"{persists} -o ControlPath={master}"},
        "variable": {"ansible_ssh_args": persists, "ansible_control_path": str(master)},
        "configuration": {"ansible_ssh_args": f"-F {play.folder}/config"},
    }[by]
    stock = play.compare("plain", OF_OTHERS.replace("MASTER", str(master)), "-e", json.dumps(variables))
    assert stock.rc == 0, stock.stdout
