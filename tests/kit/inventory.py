"""The hosts of the parity playbooks: one address of 127.0.0.0/8 for each way to log in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .accounts import ALICE, BOB, CAROL, DORA, ERIN, FINN, NORA, TESS
from .sshd import Sshd

# Nothing listens on port 1 (tcpmux) of a machine of this century.
REFUSED_PORT = 1

_BOB_SUDO = {"ansible_user": BOB.name, "ansible_become": True}
_PASSWORD_LOGIN = {"ansible_user": CAROL.name, "ansible_ssh_private_key_file": None}
_NO_KEY = "-o PubkeyAuthentication=no"
_DISCOVERY = "discovery"

# Name, then what sets the host apart. The first four are ordinary hosts.
_HOSTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "plain2": {},
    "root": {"ansible_user": "root"},
    "sudo": {"ansible_become": True},
    "sudo_password": {**_BOB_SUDO, "ansible_become_password": BOB.password},
    "sudo_wrong": {**_BOB_SUDO, "ansible_become_password": "not the password"},
    "sudo_missing": _BOB_SUDO,
    "sudo_refused": {
        "ansible_user": CAROL.name,
        "ansible_become": True,
        "ansible_become_password": CAROL.password,
    },
    "password": {**_PASSWORD_LOGIN, "ansible_password": CAROL.password, "ansible_ssh_extra_args": _NO_KEY},
    "password_wrong": {**_PASSWORD_LOGIN, "ansible_password": "wrong", "ansible_ssh_extra_args": _NO_KEY},
    "refused": {"ansible_port": REFUSED_PORT},
    _DISCOVERY: {},
    "no_python": {"ansible_python_interpreter": "/no/such/python"},
    "lectured": {"ansible_user": DORA.name, "ansible_become": True, "ansible_become_password": DORA.password},
    "on_terminal": {"ansible_user": ERIN.name, "ansible_become": True},
    "lane1": {},
    "lane2": {},
    # What kind of connection it is shows only after templating.
    "lane3": {"ansible_connection": "{{ 'ssh' }}"},
    "lane4": {"ansible_become": True},
    "python_args": {"ansible_python_interpreter": "/usr/bin/env python3 -s"},
    "csh": {"ansible_user": TESS.name},
    "fish": {"ansible_user": FINN.name},
    # Stock may find that ssh has ended by writing to it: with retries it gets to read what ssh has said.
    "nologin": {"ansible_user": NORA.name, "ansible_ssh_retries": 5},
}
_GROUPS = {
    "each": ["plain", "root", "sudo"],
    "pair": ["plain", "plain2"],
    "lanes": ["lane1", "lane2", "lane3", "lane4"],
}


def write(sshd: Sshd, folder: Path, work: Path, python: str) -> Path:
    """Write inventory and known_hosts below `folder`, and return the inventory's path.

    `work` becomes a variable of every host: the folder that playbooks may fill; `python` is the targets' interpreter.
    """
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(sshd.known_hosts())
    remote = {
        "hosts": {
            name: {
                "ansible_host": f"127.0.0.{number}",
                **({} if name == _DISCOVERY else {"ansible_python_interpreter": python}),
                **variables,
            }
            for number, (name, variables) in enumerate(_HOSTS.items(), start=2)
        },
        "vars": {
            "ansible_user": ALICE.name,
            "ansible_port": sshd.port,
            "ansible_ssh_private_key_file": str(sshd.user_key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts}",
        },
    }
    groups = {name: {"hosts": dict.fromkeys(hosts)} for name, hosts in _GROUPS.items()}
    everything = {
        "children": {"remote": remote, **groups},
        "vars": {
            "work": str(work),
            "carol_password": CAROL.password,
            # For hosts that playbooks make up.
            "kit_port": sshd.port,
            "kit_key": str(sshd.user_key),
            "kit_known_hosts": str(known_hosts),
        },
    }
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": everything}, indent=1))
    return inventory
