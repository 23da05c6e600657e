"""Connections of collections into containers that run here, in one play with ours: stock's all the way."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.plays import Play

# No network of their own, and as many files and processes as whoever runs the tests may have.
SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "{folder}/engine"
"""
STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/state"
"""
INSIDE = """\
- name: ours
  command: hostname
  register: here
- ignore_errors: true
  ignore_unreachable: true
  vars: &box
    ansible_host: "{{ box }}"
    ansible_connection: "{{ by }}"
    ansible_user: root
    ansible_remote_tmp: /tmp/.ansible
    ansible_python_interpreter: /usr/bin/python3
    inside: /tmp/{{ by }}
  block:
    - {name: command, command: id -un, register: there}
    - {name: folder, file: {path: "{{ inside }}", state: directory, mode: "0711"}, diff: true}
    - {name: copy, copy: {content: "{{ here.stdout }}", dest: "{{ inside }}/here"}, diff: true}
    - {name: slurp, slurp: {src: "{{ inside }}/here"}}
    - {name: fetch, fetch: {src: "{{ inside }}/here", dest: "{{ work }}/{{ by }}", flat: true}}
    - {name: script, script: "{{ playbook_dir }}/script"}
    - {name: become, command: id -un, become: true, become_user: nobody}
    - {name: facts, setup: {gather_subset: [distribution]}}
    - {name: job, command: echo ended, async: 30, poll: 1}
    - {name: fails, shell: "echo no >&2; exit 3"}
    - {meta: reset_connection}
    - {name: raw, raw: id -un}
    - {name: gone, file: {path: "{{ inside }}", state: absent}}
    - {name: no such box, command: id, vars: {<<: *box, ansible_host: "{{ missing }}"}}
    - {name: by delegation, command: id -un, delegate_to: box}
- {name: ours again, copy: {content: "{{ there.stdout }}", dest: "{{ work }}/there"}}
"""


@pytest.fixture
def root() -> str:
    folder = os.environ.get("SLIPSTREAM_TEST_CONTAINER_ROOT")
    if not folder:
        pytest.skip("SLIPSTREAM_TEST_CONTAINER_ROOT names no root file system")
    return folder


@pytest.fixture
def box(root: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A container called slip-box; yields the environment that finds it."""
    settings, storage = open_folder / "containers.conf", open_folder / "storage.conf"
    settings.write_text(SETTINGS.format(folder=open_folder))
    storage.write_text(STORAGE.format(folder=open_folder))
    # Podman takes docker's arguments but for the address of the server.
    docker = open_folder / "docker"
    docker.write_text('#!/bin/sh\n[ "$1" != -H ] || shift 2\nexec podman "$@"\n')
    docker.chmod(0o755)
    found_by = {
        "CONTAINERS_CONF": str(settings),
        "CONTAINERS_STORAGE_CONF": str(storage),
        "PATH": f"{open_folder}:{os.environ['PATH']}",
    }
    for name, value in found_by.items():
        monkeypatch.setenv(name, value)
    # What is written there is written to the matrix's throw-away copy of the machine: no layer can be on its layer.
    start = ["podman", "run", "--detach", "--name", "slip-box", "--rootfs", root, "sleep", "600"]
    try:
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        yield found_by
    finally:
        subprocess.run(
            ["podman", "rm", "--force", "--ignore", "--time", "0", "slip-box"], check=True, stdout=subprocess.DEVNULL
        )


@pytest.mark.parametrize("by", ["containers.podman.podman", "community.docker.docker"])
def test_boxes_of_podman(by: str, play: Play, collections: str, box: dict[str, str]) -> None:
    compare(play, collections, by, "slip-box", "slip-no-box", box)


def test_chroot(play: Play, collections: str, root: str) -> None:
    compare(play, collections, "community.general.chroot", root, "/no/such", {})


def compare(play: Play, collections: str, by: str, box: str, missing: str, environment: dict[str, str]) -> None:
    play.variables = {"ANSIBLE_COLLECTIONS_PATH": collections, **environment}
    play.file("script", "#!/bin/sh\nid -un\n")
    inventory = play.file("box", f"box ansible_connection={by} ansible_host={box} ansible_user=root\n")
    sources = ["-i", str(play.folder / "run" / "inventory.json"), "-i", str(inventory)]
    stock = play.compare("plain", INSIDE, *sources, "-e", f"by={by} box={box} missing={missing}")
    ends = {event.task: (event.kind, event.result) for event in stock.events if event.task}
    assert [ends[task][0] for task in ("command", "copy", "raw", "by delegation")] == ["ok"] * 4, ends
    assert ends["become"][1].get("stdout") == "nobody" and ends["fails"][1]["rc"] == 3, ends
