"""Settings that have stock run every module: kept files, coverage and debuggers."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.compare import run_differences
from kit.runner import MODES, Controller
from kit.sshd import Sshd
from kit.versions import core

PLAY = """\
- hosts: plain
  gather_facts: false
  ignore_errors: true
  tasks:
    - {name: ping, ping: {}}
    - {name: copy, copy: {content: x, dest: "{{ work }}/x"}}
    - {name: kept, shell: "cd {{ work }}/tmp && ls * | sed 's/ansible-tmp-.*/TMP/' | sort -u"}
"""


def stock_reasons(venv: Path, sshd: Sshd, folder: Path, defaults: str, *options: str) -> dict[str, int]:
    """Compare the play's two runs, and return why modules ran through stock."""
    playbook = folder / "play.yml"
    playbook.write_text(PLAY)
    runs = []
    for mode in MODES:
        lines = f"remote_tmp = {folder}/run/work/tmp\n{defaults}"
        with Controller(venv, mode, sshd, folder / "run", lines) as controller:
            runs.append(controller.run(playbook, *options, deadline_seconds=90))
            if mode == "slipstream":
                status = controller.status()
    assert len(runs[0].events) == 4, runs[0].stdout + runs[0].stderr
    assert list(map(str, run_differences(*runs))) == []
    assert status["tickets"] == 0
    reasons: dict[str, int] = status["stock"]
    return reasons


def test_kept_files_are_kept(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    assert set(stock_reasons(venv, sshd, open_folder, "keep_remote_files = True")) == {"keep_remote_files"}


# None of them can do its work: what it says of that is stock's.
EXTENSIONS = {
    "coverage": '{"config": "/no/such/config", "output": "/no/such/output"}',
    "debugpy": '{"port": 1}',
    "pydevd": '{"module": "no_such_module"}',
}


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_extensions_of_the_payload_run_stock(
    extension: str, venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if core(venv) >= (2, 19):
        variables = f'{{"_ansible_ansiballz_{extension}_config": {EXTENSIONS[extension]}}}'
        assert set(stock_reasons(venv, sshd, open_folder, "", "-e", variables)) == {"debugger or coverage extension"}
    elif extension == "coverage":
        monkeypatch.setenv("_ANSIBLE_COVERAGE_CONFIG", "/no/such/config")
        monkeypatch.setenv("_ANSIBLE_COVERAGE_OUTPUT", "")
        assert set(stock_reasons(venv, sshd, open_folder, "")) == {"coverage"}
    else:
        pytest.skip("no such extension in this version")
