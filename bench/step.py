"""Measures a warm `command` step on one host under stock, Mitogen and Slipstream, in one run.

Start-up is taken off: the time of a play with one step is subtracted from that of a play with many.
Runs are interleaved, and medians are printed with their ratios. Needs root (it starts the tests'
sshd) and an environment with ansible-core, Slipstream and, for its column, mitogen:

    python bench/step.py [STEPS] [ROUNDS]
"""

from __future__ import annotations

import importlib.util
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kit import accounts
from kit.runner import Controller
from kit.sshd import Sshd

PLAY = """\
- hosts: plain
  gather_facts: false
  tasks:
"""
STEP = "    - {command: hostname, changed_when: false}\n"


def main() -> None:
    """Measure and print."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    folder = Path(tempfile.mkdtemp(prefix="slip-bench-"))
    folder.chmod(0o755)
    modes = ["stock", *(["mitogen"] if importlib.util.find_spec("ansible_mitogen") else []), "slipstream"]
    with accounts.created(), Sshd() as sshd:
        figures: dict[str, list[tuple[float, float]]] = {mode: [] for mode in modes}
        for number in range(rounds):
            for mode in modes:
                figures[mode].append(measure(mode, sshd, folder, steps))
                wall, cpu = figures[mode][-1]
                print(f"round {number + 1} {mode:11} {wall * 1e3:7.1f} ms a step, {cpu * 1e3:6.1f} ms CPU", flush=True)
    show(figures)


def measure(mode: str, sshd: Sshd, folder: Path, steps: int) -> tuple[float, float]:
    """Return seconds and controller CPU seconds of one further step."""
    kind = "slipstream" if mode == "slipstream" else "stock"
    with Controller(Path(sys.prefix), kind, sshd, folder / "run") as controller:  # type: ignore[arg-type]
        if mode == "mitogen":
            use_mitogen(folder / "run" / "ansible.cfg")
        run(controller, folder, 1)
        one = run(controller, folder, 1)
        many = run(controller, folder, steps + 1)
    return (many[0] - one[0]) / steps, (many[1] - one[1]) / steps


def use_mitogen(config: Path) -> None:
    """Put the peer's lines into an ansible.cfg."""
    spec = importlib.util.find_spec("ansible_mitogen")
    assert spec and spec.submodule_search_locations
    plugins = Path(next(iter(spec.submodule_search_locations))) / "plugins" / "strategy"
    lines = f"[defaults]\nstrategy_plugins = {plugins}\nstrategy = mitogen_linear\n"
    config.write_text(config.read_text().replace("[defaults]\n", lines))


def run(controller: Controller, folder: Path, steps: int) -> tuple[float, float]:
    """Run a play of so many steps; return its seconds and the CPU seconds of its process tree."""
    playbook = folder / "bench.yml"
    playbook.write_text(PLAY + STEP * steps)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = controller.run(playbook)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.rc == 0, done.stdout + done.stderr
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def show(figures: dict[str, list[tuple[float, float]]]) -> None:
    """Print medians and Slipstream's ratio to each."""
    medians = {
        mode: [statistics.median(column) for column in zip(*rows, strict=True)] for mode, rows in figures.items()
    }
    ours = medians["slipstream"]
    print(f"\n{'':12}{'wall a step':>14}{'ratio':>8}{'CPU a step':>14}{'ratio':>8}")
    for mode, (wall, cpu) in medians.items():
        print(f"{mode:12}{wall * 1e3:11.1f} ms{ours[0] / wall:8.2f}{cpu * 1e3:11.1f} ms{ours[1] / cpu:8.2f}")


if __name__ == "__main__":
    main()
