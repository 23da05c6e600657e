"""Counts the daemon's instructions for many warm steps: the log off, against the log compiled out.

Builds both daemons, and runs each under valgrind's callgrind in the place of the environment's own. Needs root (it
starts the tests' sshd), cargo, valgrind, and an environment with ansible-core and Slipstream:

    python bench/tracing.py [STEPS] [ROUNDS]
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kit import accounts, processes
from kit.runner import Controller
from kit.sshd import Sshd

ROOT = Path(__file__).resolve().parent.parent
STEP = "    - {command: hostname, changed_when: false}\n"
PLAY = "- hosts: plain\n  gather_facts: false\n  tasks:\n"
WAYS = {"off": [], "compiled out": ["--features", "slipstream-daemon/no-tracing"]}


def main() -> None:
    """Measure and print."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    os.environ["SLIPSTREAM_LOG"] = "off"
    daemons = {way: build(way, options) for way, options in WAYS.items()}
    folder = Path(tempfile.mkdtemp(prefix="slip-bench-"))
    folder.chmod(0o755)
    counts: dict[str, list[float]] = {way: [] for way in WAYS}
    with accounts.created(), Sshd() as sshd:
        for _ in range(rounds):
            for way, daemon in daemons.items():
                counts[way].append(per_step(daemon, sshd, folder, steps))
    for way, taken in counts.items():
        spread = f"{min(taken):,.0f} to {max(taken):,.0f}"
        print(f"log {way}: {statistics.median(taken):,.0f} instructions a step (rounds: {spread})")


def build(way: str, options: list[str]) -> Path:
    """Build a daemon in a folder of its own."""
    target = ROOT / "target" / ("tracing-" + way.replace(" ", "-"))
    command = ["cargo", "build", "-q", "--release", "--locked", "-p", "slipstream-daemon", "--target-dir", str(target)]
    subprocess.run([*command, *options], cwd=ROOT, check=True)
    return target / "release" / "slipstreamd"


def per_step(daemon: Path, sshd: Sshd, folder: Path, steps: int) -> float:
    """Return the instructions of one further step: those of a play of many less those of one, by their number."""
    few, many = (instructions(daemon, sshd, folder, number) for number in (1, steps + 1))
    return (many - few) / steps


def instructions(daemon: Path, sshd: Sshd, folder: Path, steps: int) -> int:
    """Return the instructions of a daemon's whole life for a play of so many steps."""
    counted = folder / "counted"
    playbook = folder / "play.yml"
    playbook.write_text(PLAY + STEP * steps)
    counter = f'exec valgrind --tool=callgrind --callgrind-out-file={counted} {daemon} "$@" 2>{folder}/said\n'
    with (
        in_place_of_the_daemon(counter),
        Controller(Path(sys.prefix), "slipstream", sshd, folder / "run") as controller,
    ):
        done = controller.run(playbook)
        assert done.rc == 0, done.stdout + done.stderr
        processes.end_listeners(controller.slipstream_folder)
    totals = re.search(r"^(?:totals|summary): (\d+)", counted.read_text(), re.MULTILINE)
    assert totals, (folder / "said").read_text()
    return int(totals[1])


@contextmanager
def in_place_of_the_daemon(script: str) -> Iterator[None]:
    """Have the environment start ``script`` as its daemon."""
    program = Path(sys.prefix, "bin", "slipstreamd")
    own = program.rename(program.with_suffix(".own"))
    try:
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
        yield
    finally:
        own.rename(program)


if __name__ == "__main__":
    main()
