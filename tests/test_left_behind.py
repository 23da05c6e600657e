"""What a module starts and means to leave behind lives on, whatever becomes of task, agent, link and playbook."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import processes
from kit.runner import Controller, Mode
from kit.running import end_all
from kit.sshd import Sshd

PLAY = """\
- hosts: plain,root,sudo,localhost
  gather_facts: false
  tasks:
    - name: leave
      shell: "{{ item }} sleep 300 </dev/null >/dev/null 2>&1 & echo $!"
      loop: ["", nohup, setsid]
      loop_control: {label: x}
      register: left
    - {name: after it, command: "true"}
    - {name: left, debug: {msg: "{{ left.results | map(attribute='stdout') | list }}"}}
"""


@pytest.mark.parametrize(("mode", "how"), [("stock", ""), ("slipstream", "stop"), ("slipstream", "cut")])
def test_child_lives_on(venv: Path, sshd: Sshd, open_folder: Path, mode: Mode, how: str) -> None:
    playbook = open_folder / "play.yml"
    playbook.write_text(PLAY)
    with Controller(venv, mode, sshd, open_folder / "run") as controller:
        run = controller.run(playbook, "-e", "ansible_python_interpreter=/usr/bin/python3")
        left = [int(pid) for event in run.events if event.task == "left" for pid in event.result["msg"]]
        try:
            assert run.rc == 0 and len(left) == 12, run.stdout + run.stderr
            assert not how or end_all(controller, cut=how == "cut") >= 4
            assert [Path(f"/proc/{pid}/comm").read_text().strip() for pid in left] == ["sleep"] * 12
        finally:
            for pid in left:
                processes.end(pid)
