"""What an agent does before its first module."""

from __future__ import annotations

from pathlib import Path

from kit.runner import Controller
from kit.sshd import Sshd


def test_nothing_is_imported_from_the_folder_that_is_worked_in(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Anybody may have put files with those names there."""
    marker = open_folder / "imported"
    for name in ("zlib", "json", "random", "select", "struct", "hashlib", "traceback", "types"):
        (open_folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write('{name} ')\n")
    playbook = open_folder / "play.yml"
    local = "connection: local, vars: {ansible_python_interpreter: /usr/bin/python3}"
    playbook.write_text(f"[{{hosts: localhost, {local}, gather_facts: false, tasks: [{{command: pwd}}]}}]")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = controller.run(playbook, deadline_seconds=60)
        assert run.rc == 0, run.stdout + run.stderr
        assert controller.status()["tickets"] == 1
    assert not marker.exists(), marker.read_text()
