"""The local connection: the playbook that calls decides the surroundings, whoever started the daemon."""

from __future__ import annotations

import os
from pathlib import Path

from kit.runner import Controller
from kit.sshd import Sshd

PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - {name: word, command: printenv SURROUNDING}
    - {name: folder, command: pwd}
    - {name: mask, shell: umask}
"""


def test_each_playbook_has_its_own_surroundings(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Two playbooks, one daemon: the second finds nothing of the first."""
    said = []
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        for name, mask in (("first", 0o022), ("second", 0o027)):
            folder = open_folder / name
            folder.mkdir()
            (folder / "play.yml").write_text(PLAY)
            controller.variables["SURROUNDING"] = name
            before = os.umask(mask)
            try:
                run = controller.run(folder / "play.yml", deadline_seconds=60)
            finally:
                os.umask(before)
            assert run.rc == 0, run.stdout + run.stderr
            said.append([event.result["stdout"] for event in run.events if event.task in ("word", "folder", "mask")])
        status = controller.status()
    assert said == [["first", f"{open_folder}/first", "0022"], ["second", f"{open_folder}/second", "0027"]]
    assert status["tickets"] == 6
