"""Modules of package managers, from a Python that their bindings are not made for: they respawn where these are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.compare import run_differences
from kit.interpreters import interpreters
from kit.plays import Play
from kit.runner import MODES, Controller
from kit.sshd import Sshd

# Built by rpmbuild and createrepo_c. The one file of each, /opt/NAME, has the version in it; slip-broken requires
# slip-nothing.
REPOSITORY = Path(__file__).parent / "playbooks" / "files" / "packages"
DNF = """\
- hosts: sudo
  become: true
  gather_facts: false
  ignore_errors: true
  module_defaults:
    dnf: &own
      installroot: "{{ work }}/root"
      conf_file: "{{ work }}/dnf.conf"
      disable_gpg_check: true
      releasever: "1"
      use_backend: dnf4
    ansible.builtin.package: {<<: *own, use: dnf}
  tasks:
    - {name: folders, file: {path: "{{ work }}/{{ item }}", state: directory}, loop: [repos, root]}
    - name: its repository
      yum_repository: {name: ours, description: d, baseurl: "file://{{ repository }}", reposdir: "{{ work }}/repos"}
    - name: its settings
      copy:
        dest: "{{ work }}/dnf.conf"
        content: |
          [main]
          reposdir={{ work }}/repos
          cachedir={{ work }}/cache
          logdir={{ work }}/log
          plugins=0
    - {name: list, dnf: {list: "slip-*"}}
    - {name: check, dnf: {name: slip-thing}, check_mode: true, diff: true}
    - {name: old one, dnf: {name: slip-thing-1}, diff: true}
    - {name: again, dnf: {name: slip-thing-1}}
    - {name: present, package: {name: slip-thing}}
    - {name: newest, dnf: {name: slip-thing, state: latest}, diff: true}
    - {name: its file, command: "cat {{ work }}/root/opt/slip-thing"}
    - {name: back, dnf: {name: slip-thing-1, allow_downgrade: true}}
    - {name: from a file, dnf: {name: "{{ repository }}/slip-other-1-1.noarch.rpm"}}
    - {name: two, dnf: {name: [slip-thing, slip-other], state: latest}, loop: [1, 2]}
    - {name: no such, dnf: {name: slip-nothing}}
    - {name: needs what is not there, dnf: {name: slip-broken}}
    - {name: installed, dnf: {list: installed}}
    - {name: remove, package: {name: slip-thing, state: absent}}
    - {name: remove again, package: {name: slip-thing, state: absent}}
    - {name: left, shell: "ls {{ work }}/root/opt"}
    - {name: repository gone, yum_repository: {name: ours, state: absent, reposdir: "{{ work }}/repos"}, diff: true}
    - {name: no repository, dnf: {name: slip-thing}}
"""

APT = """\
- ignore_errors: true
  become: true
  block:
    - {name: there, apt: {name: acl}}
    - {name: check, apt: {name: cowsay}, check_mode: true}
    - {name: no such, apt: {name: slip-nothing}}
    - {name: package, package: {name: acl}}
    - name: repository
      apt_repository: &ours {repo: "deb http://127.0.0.1:1/x y main", filename: slip, update_cache: false}
    - {name: no repository, apt_repository: {<<: *ours, state: absent}}
    - {name: facts, package_facts: {}}
    - {name: facts of apt, package_facts: {manager: apt}}
    - {name: facts of all, package_facts: {strategy: all}}
    - name: another repository
      deb822_repository: {name: slip, uris: "http://127.0.0.1:1/x", suites: y, components: main}
      check_mode: true
"""


def test_apt_and_friends(play: Play) -> None:
    stock = play.compare("sudo", APT, "-e", f"ansible_python_interpreter={other_python()}")
    facts = [event.result for event in stock.events if event.task == "facts of apt"]
    assert "acl" in facts[0]["ansible_facts"]["packages"], facts


@pytest.fixture
def dnf() -> Iterator[None]:
    """dnf, as long as the test runs."""
    folder = os.environ.get("SLIPSTREAM_TEST_DNF")
    if not folder:
        pytest.skip("SLIPSTREAM_TEST_DNF names no folder with dnf and what it needs")
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"]
    states = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    there = {line.split()[1] for line in states.splitlines() if line.startswith("installed ")}
    # What something else has brought meanwhile is not ours to remove.
    packages = {path.name.split("_")[0]: str(path) for path in sorted(Path(folder).glob("*.deb"))}
    packages = {name: path for name, path in packages.items() if name not in there}
    subprocess.run(["dpkg", "--install", *packages.values()], check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run(["dpkg", "--purge", *packages], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.usefixtures("dnf")
def test_dnf(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    playbook.write_text(DNF)
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            variables = f"ansible_python_interpreter={other_python()} repository={REPOSITORY}"
            runs.append(controller.run(playbook, "-e", variables, deadline_seconds=240))
            report = controller.status() if mode == "slipstream" else {}
    assert list(map(str, run_differences(*runs))) == []
    ends = {event.task: event.result for event in runs[0].events}
    assert ends["newest"]["results"] == ["Installed: slip-thing-2-1.noarch", "Removed: slip-thing-1-1.noarch"]
    assert ends["its file"]["stdout"] == "2"
    assert report["stock"] == {} and report["tickets"] >= 20, report


def other_python() -> str:
    """Return one that is not the system's, where there is one."""
    return interpreters().get("3.12", "/usr/bin/python3")
