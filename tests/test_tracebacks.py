"""The lines that a module's traceback shows, where Ansible is asked to show them."""

from __future__ import annotations

import re
from pathlib import Path

from kit.runner import MODES, Controller
from kit.sshd import Sshd

TASKS = "[{raises_deep: , ignore_errors: true}, {raises_deep: {caught: true}, ignore_errors: true}]"
PLAYBOOKS = Path(__file__).parent / "playbooks"


def test_traceback_from_deep_in_a_util_reads_as_under_stock(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    for name in ("library", "module_utils"):
        (open_folder / name).symlink_to(PLAYBOOKS / name)
    playbook = open_folder / "play.yml"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: {TASKS}}}]")
    shown = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            config = open_folder / "run" / "ansible.cfg"
            config.write_text(config.read_text().replace("[defaults]", "[defaults]\ndisplay_traceback = always"))
            run = controller.run(playbook)
        texts = [
            str(event.result.get("exception", "")) + str(event.result.get("module_stderr", ""))
            for event in run.events
            if event.kind.startswith("failed")
        ]
        assert len(texts) == 2, run.stdout + run.stderr
        # What the controller was doing is its own; the zip's path has a random part.
        frames = [re.findall(r'(\w+\.py)", line (\d+), in (\w+)\n((?: {4}.*\n)*)', text) for text in texts]
        shown.append([[frame for frame in found if "_deep" in frame[0]] for found in frames])
    stock, slipstream = shown
    assert stock == slipstream
    assert [frame[:3] for frame in stock[0]][-1] == ("slip_deep.py", "32", "fall"), stock
    assert len(stock[0]) >= 5 and len(stock[1]) >= 5
