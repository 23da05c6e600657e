"""Times wide plays with and without shards, with the controller on one processor and on more; the targets have all.

Needs root (it starts the tests' sshd) and an environment with ansible-core and Slipstream:

    python bench/shards.py [ROUNDS]
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kit import accounts
from kit.sshd import Sshd
from processes import Group
from ways import Sample, Way

PLAYS = ("command_10", "compute_10")
HOSTS = "h*[0:19]"
SHARDS = ("1", "2", "auto")


def main() -> None:
    """Print the medians of interleaved runs: seconds, and seconds of the controller's CPU."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    every = os.sched_getaffinity(0)
    counts = sorted({1, 2, len(every)} & set(range(1, len(every) + 1)))
    samples: dict[tuple[int, str, str], list[Sample]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="slip-bench-") as folder,
        accounts.created(),
        Sshd() as sshd,
        Group("here") as here,
        Group("target") as target,
    ):
        Path(folder).chmod(0o755)
        target.add(sshd.pid)
        for _, count in itertools.product(range(rounds), counts):
            way = Way("slipstream", sshd, Path(folder), here, target)
            way.prepare()
            os.sched_setaffinity(0, sorted(every)[:count])
            try:
                # Links and agents of both: they outlive the runs.
                way.run(PLAYS[0], HOSTS)
                for shards, play in itertools.product(SHARDS, PLAYS):
                    way.variables = {"SLIPSTREAM_SHARDS": shards}
                    samples.setdefault((count, shards, play), []).append(way.run(play, HOSTS))
            finally:
                os.sched_setaffinity(0, every)
                way.clean()
    for (count, shards, play), taken in sorted(samples.items()):
        wall = statistics.median(sample.seconds for sample in taken)
        cpu = statistics.median(sample.controller_cpu for sample in taken)
        print(f"{play}, processors: {count}, shards: {shards}: {wall:.2f} s, controller {cpu:.2f} s")


if __name__ == "__main__":
    main()
