"""Tells whether the last of many steps costs what the first ones do: time, memory and descriptors on both sides.

Needs root (it starts the tests' sshd) and an environment with ansible-core and Slipstream:

    python bench/flat.py [STEPS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kit import accounts
from kit.runner import Controller
from kit.sshd import Sshd

PLAY = "- hosts: plain\n  gather_facts: false\n  tasks:\n"
STEP = "    - {command: hostname, changed_when: false}\n"
# Steps whose median is one figure.
WINDOW = 100


def main() -> None:
    """Run, and print a line for each look."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    folder = Path(tempfile.mkdtemp(prefix="slip-bench-"))
    folder.chmod(0o755)
    playbook = folder / "flat.yml"
    playbook.write_text(PLAY + STEP * steps)
    looks = {2 * WINDOW, steps // 4, steps // 2, steps}
    with (
        accounts.created(),
        Sshd() as sshd,
        Controller(Path(sys.prefix), "slipstream", sshd, folder / "run") as controller,
    ):
        process = controller.start(playbook)
        assert process.stdout
        ends: list[float] = []
        for line in process.stdout:
            if not line.startswith("ok: "):
                continue
            ends.append(time.monotonic())
            if len(ends) in looks:
                print(look(ends, process.pid, controller.status()), flush=True)
        assert process.wait() == 0


def look(ends: list[float], controller: int, status: dict[str, Any]) -> str:
    """Describe the last steps, and what the processes hold."""
    durations = [later - earlier for earlier, later in zip(ends[-WINDOW - 1 :], ends[-WINDOW:], strict=False)]
    (agent,) = status["links"][0]["agents"]
    held = [
        f"{name} {memory_mb(pid):.1f} MB, {len(list(Path(f'/proc/{pid}/fd').iterdir()))} descriptors"
        for name, pid in (("controller", controller), ("daemon", status["pid"]), ("agent", agent["pid"]))
    ]
    return f"step {len(ends):6}: {statistics.median(durations) * 1e3:.1f} ms; {'; '.join(held)}"


def memory_mb(pid: int) -> float:
    """Return a process's resident memory in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


if __name__ == "__main__":
    main()
