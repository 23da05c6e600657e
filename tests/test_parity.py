"""Each playbook must leave the same events, results and messages with Slipstream as without.

`--mode-b stock` compares stock with stock: what differs then is the playbook's or the masks' fault.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from kit import accounts
from kit.compare import run_differences
from kit.known import unexpected
from kit.runner import Controller, Mode, Run
from kit.sshd import Sshd

PLAYBOOKS = Path(__file__).parent / "playbooks"
# Ends a playbook, whatever it ignores.
DEAD_WORKER = "A worker was found in a dead state"
TOPICS = sorted(path.stem for path in PLAYBOOKS.glob("*.yml"))


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    """Alone on this machine: the plays install packages and make accounts that have fixed names."""
    with Path("/run/slipstream-test-parity.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        # A module that becomes root and keeps HOME leaves root's folders in it.
        accounts.forget_ansible()


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("topic", TOPICS)
def test_playbook_cannot_tell_the_modes_apart(
    topic: str, venv: Path, sshd: Sshd, web_url: str, open_folder: Path, pytestconfig: pytest.Config
) -> None:
    """Run `topic` in both modes, in the same folder, and compare."""
    modes: list[Mode] = [pytestconfig.getoption("--mode-a"), pytestconfig.getoption("--mode-b")]
    keep: Path | None = pytestconfig.getoption("--keep-runs")
    runs = []
    for place, mode in zip("ab", modes, strict=True):
        accounts.forget_ansible()
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            runs.append(controller.run(PLAYBOOKS / f"{topic}.yml", "-e", f"web_url={web_url}"))
            assert mode == "stock" or controller.status()["tickets"], "Slipstream has run nothing"
        if keep:
            _store(runs[-1], keep / venv.name / f"{topic}-{place}-{mode}")
    a, b = runs
    assert a.events, f"nothing ran: {a.stdout}\n{a.stderr}"
    assert DEAD_WORKER not in a.stderr, f"stock has not come to the end: {a.stderr}"
    found = unexpected(topic, list(run_differences(a, b)))
    heading = f"{len(found)} differences in {len(a.events)} events, a={modes[0]} b={modes[1]}"
    if found:
        pytest.fail("\n".join([heading, *map(str, found)]), pytrace=False)


def _store(run: Run, folder: Path) -> None:
    """Write a run where a developer can read it after the test."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stdout").write_text(run.stdout)
    (folder / "stderr").write_text(run.stderr)
    lines = [json.dumps(asdict(event), sort_keys=True) for event in run.events]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
