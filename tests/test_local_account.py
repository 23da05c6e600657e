"""The local connection of a playbook that is not root's: sudo asks for its user's password here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kit.accounts import BOB, CAROL
from kit.compare import run_differences
from kit.runner import MODES, Controller
from kit.sshd import Sshd

LIBRARY = Path(__file__).parent / "playbooks" / "library"
PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  ignore_errors: true
  ignore_unreachable: true
  vars:
    d: "{{ work }}/bobs"
    ansible_python_interpreter: /usr/bin/python3
    password: "%(password)s"
    ansible_become_password: "{{ password }}"
  tasks:
    - {name: as itself, command: id}
    - {name: folder, file: {path: "{{ d }}", state: directory, mode: "0755"}}
    - {name: copy as itself, copy: {content: own, dest: "{{ d }}/own"}}
    - {name: as root, command: id, become: true}
    - {name: again, command: id, become: true}
    - {name: surroundings, surroundings: {}, become: true}
    - {name: raw as root, raw: id -un, become: true}
    - {name: script as root, script: "{{ playbook_dir }}/script", become: true}
    - {name: copy as root, copy: {content: roots, dest: "{{ d }}/roots", mode: "0600"}, become: true, diff: true}
    - {name: fetch as root, fetch: {src: "{{ d }}/roots", dest: "{{ d }}/fetched"}, become: true}
    - {name: read as itself, slurp: {src: "{{ d }}/roots"}}
    - {name: as carol, command: id, become: true, become_user: slip-carol}
    - name: carol's file
      copy: {content: hers, dest: "{{ work }}/hers"}
      become: true
      become_user: slip-carol
    - {name: wrong, command: id, become: true, vars: {ansible_become_password: wrong}}
    - {name: raw with a wrong one, raw: id, become: true, vars: {ansible_become_password: wrong}}
    - {name: none, command: id, become: true, vars: {ansible_become_password: null}}
    - {name: right again, command: id -un, become: true}
    - name: su
      command: id
      become: true
      become_method: su
      become_user: slip-carol
      vars: {ansible_become_password: "%(carol)s"}
    - {name: job, command: id -un, async: 30, poll: 1, become: true}
    - {name: left behind, command: sleep 1, async: 30, poll: 0, become: true, register: left}
    - name: its end
      async_status: {jid: "{{ left.ansible_job_id }}"}
      become: true
      <<: &waits {register: ended, until: ended.finished, retries: 5, delay: 3}
    - {name: own job, command: sleep 1, async: 30, poll: 0, register: own}
    - {name: own job's end, async_status: {jid: "{{ own.ansible_job_id }}"}, <<: *waits}
    - {name: own job's traces, async_status: {jid: "{{ own.ansible_job_id }}", mode: cleanup}}

- hosts: refused
  gather_facts: false
  ignore_errors: true
  vars: {ansible_become_password: "%(password)s", ansible_python_interpreter: /usr/bin/python3}
  tasks:
    - {name: delegated, command: id -un, delegate_to: localhost, become: true}
    - name: delegated copy
      copy: {content: x, dest: "{{ work }}/delegated"}
      delegate_to: localhost
      become: true
      become_user: slip-carol
"""


def test_become_by_password(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    reached = ["setpriv", "--reuid", BOB.name, "--clear-groups", "--regid", BOB.name, str(venv / "bin" / "python")]
    if subprocess.run([*reached, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("other accounts can't reach the environment under test")
    (open_folder / "script").write_text("#!/bin/sh\nid -un\n")
    playbook = open_folder / "play.yml"
    playbook.write_text(PLAY % {"password": BOB.password, "carol": CAROL.password})
    variables = {"ANSIBLE_LIBRARY": str(LIBRARY), "HOME": f"/home/{BOB.name}"}
    runs = []
    for mode in MODES:
        # Each is asked for the password anew.
        subprocess.run(["sudo", "-u", BOB.name, "sudo", "-K"], check=True)
        with Controller(venv, mode, sshd, open_folder / "run", environment=variables, account=BOB) as controller:
            runs.append(controller.run(playbook, deadline_seconds=120))
            assert mode == "stock" or controller.status()["tickets"] > 10
    assert runs[0].events, runs[0].stdout + runs[0].stderr
    assert list(map(str, run_differences(*runs))) == []
