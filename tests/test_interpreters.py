"""One agent source on every Python that ansible-core has supported on targets."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from kit import modules
from kit.compare import run_differences
from kit.interpreters import interpreters
from kit.runner import MODES, Controller, Run
from kit.sshd import Sshd
from kit.versions import runs_on


def run_both_ways(venv: Path, sshd: Sshd, playbook: Path, interpreter: object) -> tuple[list[Run], dict[str, Any]]:
    """Run a play as stock and as we do, with equal results; return the runs, ours last, and the daemon's status."""
    runs, status = [], {}
    for mode in MODES:
        with Controller(venv, mode, sshd, playbook.parent / "run") as controller:
            options = ["-e", f"ansible_python_interpreter={interpreter}"]
            runs.append(run := controller.run(playbook, *options, deadline_seconds=90))
            assert run.rc == 0, run.stdout + run.stderr
            status = controller.status() if mode == "slipstream" else {}
    found = list(map(str, run_differences(*runs)))
    assert not found, "\n".join(found)
    return runs, status


@pytest.mark.parametrize("version", interpreters())
def test_modules_run_by_ticket(venv: Path, sshd: Sshd, open_folder: Path, version: str) -> None:
    if not runs_on(venv, version):
        pytest.skip("this ansible-core's modules do not run there")
    playbook = open_folder / "play.yml"
    playbook.write_text(
        """
- hosts: root
  gather_facts: false
  tasks:
    - {name: setup, setup: {gather_subset: [min]}}
    - {name: copy, copy: {content: "w\\u00f6rd\\n", dest: "{{ work }}/\\u00e4"}}
    - {name: command, command: "cat '{{ work }}/\\u00e4'", environment: {WORD: "\\u00fc"}}
    - {name: fail, command: "false", ignore_errors: true}
    - {name: bad, file: {path: /no/such/folder/x, state: touch}, ignore_errors: true}
    - {name: crash, crasher: {}, ignore_errors: true}
"""
    )
    modules.install(open_folder, "crasher", modules.CRASHER)
    runs, status = run_both_ways(venv, sshd, playbook, interpreters()[version])
    assert status["tickets"] == 7 and status["stock"] == {}
    results = {event.task: event.result for event in runs[-1].events if event.task}
    assert results["setup"]["ansible_facts"]["ansible_python_version"].startswith(version)
    assert results["command"]["stdout"] == "w\u00f6rd"
    assert results["fail"]["rc"] == 1 and "touch target" in results["bad"]["msg"]


@pytest.mark.parametrize("name", ["newer", "uses_newer"])
@pytest.mark.parametrize("version", interpreters())
def test_code_newer_than_the_interpreter_fails_as_under_stock(
    venv: Path, sshd: Sshd, open_folder: Path, version: str, name: str
) -> None:
    if not runs_on(venv, version):
        pytest.skip("this ansible-core's modules do not run there")
    modules.install(open_folder, "newer", modules.NEWER)
    modules.install(open_folder, "uses_newer", modules.USES_NEWER)
    modules.install(open_folder, "newer_utility", modules.NEWER_UTILITY, "module_utils")
    playbook = open_folder / "play.yml"
    newer = f"{{{name}: {{}}, ignore_errors: true}}"
    tasks = f"{{command: 'true'}}, {newer}, {newer}, {{command: 'true'}}"
    playbook.write_text(f"[{{hosts: root, gather_facts: false, tasks: [{tasks}]}}]")
    runs, status = run_both_ways(venv, sshd, playbook, interpreters()[version])
    assert status["stock"] == {}
    matched = [event.result.get("matched") for event in runs[-1].events if event.task == name]
    assert matched == [True if tuple(map(int, version.split("."))) >= (3, 10) else None] * 2


@pytest.mark.parametrize("version", interpreters())
def test_interpreter_too_old_for_the_modules_fails_as_under_stock(
    venv: Path, sshd: Sshd, open_folder: Path, version: str
) -> None:
    if runs_on(venv, version):
        pytest.skip("this ansible-core's modules run there")
    playbook = open_folder / "play.yml"
    playbook.write_text(
        """
- hosts: root,sudo
  gather_facts: false
  tasks:
    - {setup: {gather_subset: [min]}, ignore_errors: true}
    - {copy: {content: x, dest: "{{ work }}/x"}, ignore_errors: true}
    - {command: "true", ignore_errors: true}
    - {raw: "true"}
"""
    )
    runs, status = run_both_ways(venv, sshd, playbook, interpreters()[version])
    assert list(status["stock"].values()) == [6] and status["tickets"] == 0
    failed = [event.task for event in runs[-1].events if event.kind == "failed, ignored" and event.host == "sudo"]
    assert failed == ["setup", "copy", "command"]


# As libffi opens itself, for ctypes, where it has static trampolines.
OPENS_AND_KEEPS = """
import os, sys

class Watcher:
    def find_spec(self, name, path=None, target=None):
        if name == "ctypes":
            os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)

sys.meta_path.insert(0, Watcher())
"""


def test_a_descriptor_that_an_import_keeps_is_there_as_under_stock(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    environment = open_folder / "environment"
    subprocess.run([venv / "bin/python", "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "keeps.py").write_text(OPENS_AND_KEEPS)
    (packages / "keeps.pth").write_text("import keeps\n")
    modules.install(open_folder, "descriptors", modules.DESCRIPTORS)
    playbook = open_folder / "play.yml"
    # First what has descriptors of its own in the agent: a file, and the copies of others.
    tasks = "{copy: {content: x, dest: '{{ work }}/x'}}, {descriptors: {}}, {descriptors: {}}"
    playbook.write_text(f"[{{hosts: root, gather_facts: false, tasks: [{tasks}]}}]")
    runs, status = run_both_ways(venv, sshd, playbook, environment / "bin/python")
    # The two modules and those of `copy`: none went through stock, which would see stock's numbers.
    assert status["tickets"] >= 2 and status["stock"] == {}
    for run in runs:
        seen = [event.result["seen"] for event in run.events if event.task == "descriptors"]
        # There may be libffi's, too.
        assert [opened[0] for opened in seen] == ["/etc/passwd"] * 2
