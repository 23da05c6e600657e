"""dnf at work on packages of our own, in a root of its own, from a Python that its binding is not made for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kit.compare import run_differences
from kit.interpreters import interpreters
from kit.runner import MODES, Controller
from kit.sshd import Sshd

SPEC = """\
Name: {name}
Version: {version}
Release: 1
Summary: a thing
License: none
BuildArch: noarch
{more}
%description
A thing.
%install
mkdir -p %{{buildroot}}/opt
echo {version} > %{{buildroot}}/opt/{name}
%files
/opt/{name}
"""
PLAY = """\
- hosts: sudo
  become: true
  gather_facts: false
  ignore_errors: true
  vars: {repository: "{{ playbook_dir }}/repository"}
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


@pytest.mark.skipif(not shutil.which("rpmbuild"), reason="rpm is not installed")
def test_packages_come_and_go(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    # One without dnf's binding, where there is one.
    python = interpreters().get("3.12", "/usr/bin/python3")
    repository = open_folder / "repository"
    for name, version, more in (
        ("slip-thing", "1", ""),
        ("slip-thing", "2", ""),
        ("slip-other", "1", ""),
        ("slip-broken", "1", "Requires: slip-nothing"),
    ):
        build(SPEC.format(name=name, version=version, more=more), repository)
    subprocess.run(["createrepo_c", "--quiet", repository], check=True)
    playbook = open_folder / "play.yml"
    playbook.write_text(PLAY)
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            runs.append(controller.run(playbook, "-e", f"ansible_python_interpreter={python}", deadline_seconds=240))
            report = controller.status() if mode == "slipstream" else {}
    assert list(map(str, run_differences(*runs))) == []
    ends = {event.task: event.result for event in runs[0].events}
    assert ends["newest"]["results"] == ["Installed: slip-thing-2-1.noarch", "Removed: slip-thing-1-1.noarch"]
    assert ends["its file"]["stdout"] == "2"
    assert report["stock"] == {} and report["tickets"] >= 20, report


def build(spec: str, repository: Path) -> None:
    """Make a package of a specification."""
    top = repository.parent / "build"
    top.mkdir(exist_ok=True)
    (top / "thing.spec").write_text(spec)
    defined = {"_topdir": top, "_rpmdir": repository, "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm"}
    options = [word for name, value in defined.items() for word in ("--define", f"{name} {value}")]
    subprocess.run(["rpmbuild", "--quiet", "-bb", *options, top / "thing.spec"], check=True)
