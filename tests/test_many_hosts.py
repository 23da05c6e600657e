"""Many hosts at once: each becomes by its password, and links need more descriptors than a shell allows at first."""

from __future__ import annotations

import resource

import pytest
from kit.accounts import BOB
from kit.plays import Play

HOSTS = """\
- hosts: localhost
  gather_facts: false
  strategy: linear
  tasks:
    - add_host:
        name: "h{{ item }}"
        groups: many
        ansible_host: "127.0.1.{{ item }}"
        ansible_user: slip-bob
        ansible_become_password: "{{ 'wrong' if item % 7 == 3 else bobs_password }}"
        ansible_port: "{{ kit_port }}"
        ansible_ssh_private_key_file: "{{ kit_key }}"
        # The kit's known_hosts does not have these addresses.
        ansible_ssh_common_args: "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no"
        ansible_python_interpreter: /usr/bin/python3
      loop: "{{ range(1, hosts | int + 1) | list }}"
- hosts: many
  gather_facts: false
  ignore_errors: true
  tasks:
"""
BECOME = """\
    - {name: one, command: id -un, become: true}
    - {name: copy, copy: {content: x, dest: "{{ work }}/{{ inventory_hostname }}"}, become: true}
    - {name: another, command: id -un, become: true, become_user: slip-carol}
    - {name: as itself, command: id -un}
"""


def options(hosts: int) -> list[str]:
    """Return what the plays are told."""
    return ["-e", f"bobs_password={BOB.password} hosts={hosts}"]


@pytest.mark.parametrize(("strategy", "shards"), [("linear", "1"), ("linear", "2"), ("free", "auto")])
def test_all_become_by_password(play: Play, strategy: str, shards: str) -> None:
    play.variables = {"SLIPSTREAM_SHARDS": shards, "ANSIBLE_FORKS": "20"}
    more = HOSTS.replace("- hosts: many\n", f"- hosts: many\n  strategy: {strategy}\n") + BECOME
    stock = play.compare("localhost", "- debug:\n", *options(20), more=more)
    assert sum(event.kind == "failed, ignored" for event in stock.events) == 9


def test_links_beyond_the_soft_limit(play: Play) -> None:
    hosts = 140
    play.variables = {"ANSIBLE_FORKS": str(hosts)}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    more = HOSTS + "    - {name: one, command: id -un}\n    - {name: two, command: id -un}\n"
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        run = play.run("slipstream", "localhost", "- debug:\n", *options(hosts), more=more)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert run.rc == 0, run.stdout[-3000:] + run.stderr[-2000:]
    assert sum(event.task in ("one", "two") for event in run.events) == 2 * hosts
