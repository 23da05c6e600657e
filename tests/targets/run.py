"""Run ansible-core's own integration targets under stock and under Slipstream, and compare.

    python tests/targets/run.py --venv VENV --sdist FOLDER --image FILE [--ci] [--jobs N] [--out FILE] [TARGET...]

``VENV`` has ansible-core, of the version of the unpacked source distribution ``FOLDER``, and Slipstream;
``image.sh`` makes ``FILE``. Without names, every target of ``lists/``. The exit code is 1 if a target fails under
Slipstream: those of the lists pass under stock. Needs root, for the sandboxes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results
from catalogue import Catalogue, Entry, read_list
from inside import Spec
from results import Json, Outcome

HERE = Path(__file__).parent
PRODUCTS: dict[str, dict[str, str]] = {
    "stock": {},
    # Through the environment, so that a target's own ansible.cfg keeps it; junit is ansible-test's.
    "slipstream": {"ANSIBLE_CALLBACKS_ENABLED": "junit,slipstream.core.accelerate"},
}
PROBE = (
    "import sys, json, os, ansible.release as r; site = os.path.dirname(os.path.dirname(r.__file__));"
    "print(json.dumps(['.'.join(map(str, sys.version_info[:2])), r.__version__, site]))"
)


@dataclass
class Runner:
    """Runs targets in sandboxes."""

    venv: Path
    sdist: Path
    image: Path
    logs: Path
    timeout: float
    user: str

    def __post_init__(self) -> None:
        """Ask the virtual environment what it has."""
        probe = subprocess.check_output([self.venv / "bin/python", "-c", PROBE], text=True)
        self.python, self.version, self.site = json.loads(probe)
        if not self.sdist.name.endswith(f"-{self.version}"):
            sys.exit(f"{self.venv} has ansible-core {self.version}, but the source distribution is {self.sdist.name}")
        # Two targets in the machine's own network would be in each other's way.
        self._machine_network = threading.Lock()

    def run(self, entry: Entry, mode: str) -> Outcome:
        """Run one target under ``mode``, a name of ``PRODUCTS``."""
        shared = Path(tempfile.mkdtemp(prefix="slip-target-"))
        try:
            with self._machine_network if entry.net == "host" else contextlib.nullcontext():
                return self._run(entry, mode, shared)
        finally:
            shutil.rmtree(shared, ignore_errors=True)

    def _run(self, entry: Entry, mode: str, shared: Path) -> Outcome:
        (shared / "mounts").mkdir()
        spec = Spec(
            name=entry.name,
            venv=str(self.venv),
            site=self.site,
            sdist=str(self.sdist),
            image=str(self.image),
            shared=str(shared),
            version=self.version,
            python=self.python,
            inventory=entry.inventory,
            net=entry.net,
            user=self.user,
            product=PRODUCTS[mode],
        )
        spec.write(shared / "spec")
        timed_out = self._sandbox(entry, shared)
        texts = (shared / name for name in ("log", "errors"))
        text = "".join(path.read_text(errors="replace") for path in texts if path.exists())
        (self.logs / f"{entry.name}.{mode}.log").write_text(text)
        ended = shared / "result"
        result: Json = json.loads(ended.read_text()) if ended.exists() else {"code": 124 if timed_out else 255}
        return Outcome.of(result, text, timed_out)

    def _sandbox(self, entry: Entry, shared: Path) -> bool:
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"]
        command += [] if entry.net == "host" else ["--net"]
        command += [str(self.venv / "bin/python"), str(HERE / "inside.py"), str(shared / "spec")]
        with (shared / "errors").open("w") as errors:
            sandbox = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
            )
            try:
                sandbox.wait(self.timeout)
                return False
            except subprocess.TimeoutExpired:
                return True
            finally:
                # The sandbox goes with its first process.
                sandbox.kill()
                sandbox.wait()


def _entries(arguments: argparse.Namespace, catalogue: Catalogue, version: str) -> list[Entry]:
    listed = {entry.name: entry for entry in read_list((HERE / "lists" / f"{version}.txt").read_text())}
    if arguments.names:
        chosen = [listed.get(name, Entry(name, arguments.inventory)) for name in arguments.names]
    else:
        chosen = [entry for entry in listed.values() if entry.ci or not arguments.ci]
    if unknown := [entry.name for entry in chosen if entry.name not in catalogue.targets]:
        sys.exit(f"no such target in this source distribution: {', '.join(unknown)}")
    return chosen


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=lambda p: Path(p).absolute(), required=True)
    parser.add_argument("--sdist", type=lambda p: Path(p).absolute(), required=True)
    parser.add_argument("--image", type=lambda p: Path(p).absolute(), required=True)
    parser.add_argument("--ci", action="store_true", help="the gate's part of the list")
    parser.add_argument("--inventory", choices=("ssh", "local"), default="ssh", help="for names not in the list")
    parser.add_argument("--modes", default="stock,slipstream", help="comma-separated; the second is judged")
    parser.add_argument("--baseline", type=Path, help="an earlier --out: its stock results are used again")
    parser.add_argument("--user", default="root", help="log in to an account that is made so, and become root by sudo")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for a target")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("targets.json"))
    parser.add_argument("names", nargs="*")
    return parser.parse_args()


def main() -> None:
    """Run, print a line a target, write a JSON file, exit with 1 on a regression."""
    arguments = _arguments()
    if os.geteuid() != 0:
        sys.exit("the sandboxes need root")
    logs = arguments.out.with_suffix(".logs").absolute()
    logs.mkdir(parents=True, exist_ok=True)
    runner = Runner(arguments.venv, arguments.sdist, arguments.image, logs, arguments.timeout, arguments.user)
    catalogue = Catalogue(arguments.sdist / "test/integration/targets")
    entries = _entries(arguments, catalogue, runner.version.rpartition(".")[0])
    known: Json = json.loads(arguments.baseline.read_text())["targets"] if arguments.baseline else {}
    found: dict[str, dict[str, Any]] = {}
    lock = threading.Lock()

    def work(entry: Entry) -> None:
        outcomes = {}
        for mode in arguments.modes.split(","):
            if mode == "stock" and entry.name in known:
                outcomes[mode] = Outcome(**known[entry.name]["stock"])
            else:
                outcomes[mode] = runner.run(entry, mode)
        with lock:
            found[entry.name] = {mode: outcome.as_json() for mode, outcome in outcomes.items()}
            print(f"{len(found)}/{len(entries)} {results.line(entry.name, outcomes)}", flush=True)
            report = {"ansible": runner.version, "python": runner.python, "targets": dict(sorted(found.items()))}
            arguments.out.write_text(json.dumps(report, indent=1))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(work, entries))
    failed = results.summary(found)
    if not arguments.names and "slipstream" in arguments.modes and not any(_tickets(modes) for modes in found.values()):
        sys.exit("Slipstream has run nothing")
    sys.exit(1 if failed else 0)


def _tickets(modes: Json) -> int:
    return int(modes["slipstream"]["tickets"])


if __name__ == "__main__":
    main()
