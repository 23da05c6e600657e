"""Runs the scenarios under stock, Mitogen and Slipstream, interleaved, and prints medians and their ratios.

Needs root (it starts the tests' sshd) and an environment with ansible-core, Slipstream and, for its column,
mitogen; ``./dev bench`` makes one. Writes JSON, a table and plots:

    python bench/suite.py [--rounds N] [--big MB] [--out FOLDER] [SCENARIO...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import report
from kit import accounts
from kit.sshd import Sshd
from processes import Group
from scenarios import Bench, Scenario, scp_seconds
from ways import Way, names

Json = dict[str, Any]
DOCS = Path(__file__).resolve().parent.parent / "docs"


def main() -> None:
    """Measure, print, write."""
    arguments = _arguments()
    with _folder() as folder, accounts.created(), Sshd() as sshd, Group("here") as here, Group("target") as target:
        target.add(sshd.pid)
        ways = [Way(name, sshd, folder, here, target) for name in names()]
        bench = Bench(sshd, folder, arguments.big)
        rows: list[Json] = []
        for scenario in bench.scenarios():
            if not arguments.names or scenario.name in arguments.names:
                rows += _measured(scenario, ways, partial(scp_seconds, sshd, folder, arguments.big), arguments)
                # An hour's work is not lost with the last of it.
                _write(rows, arguments)


def _write(rows: list[Json], arguments: argparse.Namespace) -> None:
    results = {"machine": _machine(), "rounds": arguments.rounds, "rows": rows}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "benchmarks.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, arguments.out)


def _measured(
    scenario: Scenario, ways: list[Way], scp: Callable[[], float], arguments: argparse.Namespace
) -> list[Json]:
    samples: dict[str, list[Json]] = {}
    for _ in range(arguments.rounds):
        for way in ways:
            way.prepare()
            try:
                samples.setdefault(way.name, []).append(asdict(scenario.measure(way)))
            finally:
                way.clean()
        if "scp" in scenario.bounds:
            samples.setdefault("scp", []).append({"seconds": scp()})
    medians = {name: _medians(taken) for name, taken in samples.items()}
    rows: list[Json] = [
        {
            "name": name,
            "title": scenario.title,
            "figure": figure,
            "bounds": bounds,
            "most": scenario.most if name == scenario.name else None,
            "medians": medians,
            "samples": samples if name == scenario.name else {},
        }
        for name, figure, bounds in scenario.rows()
    ]
    for row in rows:
        print(report.line(row), flush=True)
    return rows


def _medians(samples: list[Json]) -> Json:
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def _machine() -> Json:
    packages = {}
    for package in ("ansible-core", "mitogen", "ansible-slipstream"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "none"
    return {"cores": os.cpu_count(), "python": platform.python_version(), **packages}


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that every account may enter, with ``open`` inside, where they may write."""
    folder = Path(tempfile.mkdtemp(prefix="slip-bench-"))
    folder.chmod(0o755)
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big", type=int, default=200, help="size of the big file, in MB")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for benchmarks.json, .md and .svg")
    parser.add_argument("names", nargs="*", metavar="SCENARIO")
    return parser.parse_args()


if __name__ == "__main__":
    main()
