"""What is printed is what stock prints, letter by letter, ssh's own words aside."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
from kit.masks import mask_text
from kit.runner import MODES, Controller, Run
from kit.sshd import Sshd
from kit.versions import core

PLAYBOOKS = Path(__file__).parent / "playbooks"
SHOWN = PLAYBOOKS / "shown"
DEFAULTS = """\
library = {playbooks}/library
module_utils = {playbooks}/module_utils
remote_tmp = {folder}/work/tmp
forks = 1
strategy = {strategy}
stdout_callback = {callback}
"""
# Up to 2.18 ssh is made as talkative as Ansible, about connections of its own; here it is not.
QUIET_SSH = """\
#!/bin/bash
for word; do [[ $word =~ ^-v+$ ]] || words+=("$word"); done
exec ssh "${words[@]}"
"""
MASKS = tuple(
    (re.compile(pattern, re.MULTILINE), name)
    for pattern, name in (
        (r"\b\d+\.\d+s$", "SECONDS"),
        (r"(?<=\b[acm]time\": )\d+\.\d+", "TIME"),
        (r"(?<=\"inode\": )\d+", "NUMBER"),
        (r"(?<=\"version\": \")\d+(?=\", \"attributes)", "NUMBER"),
        (r"(?<=<TMP>/)\.\w{8}\b|(?<=_original_basename\": \")\.\w{8}\b", "BASENAME"),
        (r"(?<=sshpass -d)\d+", "NUMBER"),
        # sftp's words, up to 2.18.
        (r"(?<=, b)['\"]OpenSSH_.*['\"]\)$", "'')"),
    )
)
CALLBACKS = ("minimal", "oneline", "json_like", "profile_like")
# Our link is ended before stock looks for its own, and finds none.
RESET = re.compile(r"sending connection stop: |No connection to reset: ")
KIND = re.compile(r"^(?:TASK \[.*\]|<[\d.]+> (?:\w+: )?\w+|<[\d.]+> \(\d+)", re.MULTILINE)
# With -vvvv and ssh's own words, in a play of some ten connections.
MOST_SHOWN = 1 << 19


def run_both(
    venv: Path, sshd: Sshd, folder: Path, play: str, callback: str, *options: str, strategy: str = "linear"
) -> tuple[Run, Run]:
    runs = []
    for mode in MODES:
        run_folder = folder / "run"
        defaults = DEFAULTS.format(playbooks=PLAYBOOKS, folder=run_folder, strategy=strategy, callback=callback)
        with Controller(venv, mode, sshd, run_folder, defaults) as controller:
            runs.append(controller.run_settled(SHOWN / play, *options))
            assert mode == "stock" or controller.status()["tickets"], "Slipstream has run nothing"
    stock, ours = runs
    assert stock.rc == ours.rc and len(stock.events) > 5, stock.stdout + stock.stderr + ours.stderr
    return stock, ours


def quiet_ssh(venv: Path, folder: Path) -> list[str]:
    if core(venv) >= (2, 19):
        return []
    executable = folder / "ssh"
    executable.write_text(QUIET_SSH)
    executable.chmod(0o755)
    return ["-e", f"ansible_ssh_executable={executable}"]


def masked(text: str) -> list[str]:
    text = mask_text(text)
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return text.splitlines()


def in_order(lines: list[str]) -> list[str]:
    """Return lines in order, those of included files with their hosts in order."""
    return sorted(re.sub(r"(?<=\.yml for ).*", lambda found: str(sorted(found[0].split(", "))), line) for line in lines)


def assert_equal(stock: list[str], ours: list[str]) -> None:
    difference = list(difflib.unified_diff(stock, ours, "stock", "slipstream", lineterm="", n=1))
    if difference:
        pytest.fail("\n".join(difference), pytrace=False)


@pytest.mark.parametrize(
    ("callback", "options"),
    [
        ("default", ["-v"]),
        ("default", ["--tags", "few"]),
        ("default", ["--tags", "few", "-vv"]),
        *((callback, ["--tags", "few", *v]) for callback in CALLBACKS for v in ([], ["-v"], ["-vv"])),
    ],
    ids=str,
)
def test_results_are_shown_as_by_stock(
    venv: Path, sshd: Sshd, open_folder: Path, callback: str, options: list[str]
) -> None:
    stock, ours = run_both(venv, sshd, open_folder, "results.yml", callback, *options, *quiet_ssh(venv, open_folder))
    assert_equal(masked(stock.stdout), masked(ours.stdout))
    assert_equal(masked(stock.stderr), masked(ours.stderr))


@pytest.mark.parametrize(("strategy", "forks"), [("linear", 1), ("host_pinned", 1), ("linear", 5)])
def test_hosts_are_shown_as_by_stock(venv: Path, sshd: Sshd, open_folder: Path, strategy: str, forks: int) -> None:
    """Side by side they answer in any order, in which files are included for them: lines are compared."""
    options = ["-v", "-f", str(forks), *quiet_ssh(venv, open_folder)]
    runs = run_both(venv, sshd, open_folder, "hosts.yml", "default", *options, strategy=strategy)
    stock, ours = (masked(run.stdout) for run in runs)
    assert any(line.startswith("TASK [included by plain]") for line in stock), stock
    if forks > 1:
        stock, ours = in_order(stock), in_order(ours)
    assert_equal(stock, ours)


def test_connections_are_shown_as_by_stock(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Command lines, become, transfers and results, all of them."""
    runs = run_both(venv, sshd, open_folder, "connections.yml", "default", "-vvv", *quiet_ssh(venv, open_folder))
    lines = [[line for line in masked(one.stdout) if not RESET.search(line)] for one in runs]
    assert sum("SSH: EXEC sftp" in line for line in lines[0]) > 5
    assert_equal(*lines)
    assert_equal(*(masked(one.stderr) for one in runs))


def test_most_is_shown_in_stocks_shape_and_with_bounds(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """ssh talks about its own connection, which is another one: only what Ansible says of it is compared."""
    options = ["-vvvv", "-e", "ansible_ssh_verbosity=3", "--tags", "few"]
    runs = run_both(venv, sshd, open_folder, "connections.yml", "default", *options)
    assert all(len(one.stdout) + len(one.stderr) < MOST_SHOWN for one in runs)
    assert_equal(*(KIND.findall(one.stdout) for one in runs))
