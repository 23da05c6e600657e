"""A play of a few lines, with files of its own, run under stock and under Slipstream."""

from __future__ import annotations

from pathlib import Path

from .compare import run_differences
from .runner import MODES, Controller, Mode, Run
from .sshd import Sshd


class Play:
    """A play in a folder that is as it was for each mode."""

    def __init__(self, venv: Path, sshd: Sshd, folder: Path) -> None:
        self._venv, self._sshd, self.folder = venv, sshd, folder
        self._files: dict[str, str | None] = {}
        self.deadline_seconds = 120.0
        # Of the environment.
        self.variables: dict[str, str] = {}
        # What stock and Slipstream have written to standard output.
        self.shown: list[str] = []
        # Modules that Slipstream has run in its last run.
        self.tickets = 0

    def file(self, name: str, content: str | None) -> Path:
        """Let a file have this content before each run, or be missing."""
        self._files[name] = content
        return self.folder / name

    def compare(self, hosts: str, tasks: str, *options: str, more: str = "", no_modules: bool = False) -> Run:
        """Run it, and ``more`` plays, in both modes; expect no difference, and return stock's run.

        Slipstream has to have run modules of it, unless ``no_modules``: lanes may have done the rest.
        """
        runs = [self.run(mode, hosts, tasks, *options, more=more) for mode in MODES]
        assert runs[0].events, runs[0].stdout + runs[0].stderr
        assert no_modules or self.tickets, "Slipstream has run nothing"
        found = list(map(str, run_differences(*runs)))
        assert not found, "\n".join(found)
        self.shown = [run.stdout for run in runs]
        return runs[0]

    def run(self, mode: Mode, hosts: str, tasks: str, *options: str, more: str = "") -> Run:
        """Run it, and ``more`` plays, in one mode."""
        lines = [f"- hosts: {hosts}", "  gather_facts: false", "  tasks:"]
        lines += [f"    {line}" for line in tasks.splitlines()]
        playbook = self.file("play.yml", "\n".join(lines) + "\n" + more)
        for name, content in self._files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content)
        with Controller(self._venv, mode, self._sshd, self.folder / "run") as controller:
            controller.variables.update(self.variables)
            run = controller.run(playbook, *options, deadline_seconds=self.deadline_seconds)
            started = any(controller.slipstream_folder.iterdir())
            self.tickets = controller.status()["tickets"] if started else 0
            return run
