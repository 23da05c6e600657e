"""Interpreter discovery: stock's choice, in the session in which the agent starts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from kit import modules
from kit.compare import run_differences
from kit.interpreters import interpreters
from kit.runner import MODES, Controller
from kit.sshd import Sshd
from kit.versions import core, runs_on

# Distributions and versions as /etc/os-release has them, and what platform.dist() says on an old Python.
RELEASES = [("debian", version) for version in ("7", "8", "9", "10", "12", "")]
RELEASES += [("ubuntu", version) for version in ("12.04", "14.04", "15.10", "16.04", "24.04")]
RELEASES += [(name, version) for name in ("rhel", "centos", "rocky") for version in ("5", "6.10", "7", "8.9", "9.3")]
RELEASES += [
    ("fedora", "22"),
    ("fedora", "41"),
    ("alpine", "3.20.1"),
    ("opensuse-leap", "15.6"),
    ("arch", ""),
    ("", ""),
]
# Prints pairs: what stock's table and what ours has for each release, None for nothing.
COMPARE = """
import json, os, runpy, sys
from ansible import constants
from ansible.executor import interpreter_discovery as stock
from ansible_slipstream.agent import chooser
from ansible_slipstream.ansible import discovery
os.access = lambda path, mode: True
families = constants.config.get_config_value("_INTERPRETER_PYTHON_DISTRO_MAP")
pairs = []
for name, version in json.loads(sys.argv[1]):
    content = f'NAME="A name"\\nID="{name}"\\nVERSION_ID={version}\\n'
    for told in ([], [name, version, "id"]):
        platform = {"platform_dist_result": told, "osrelease_content": None if told else content}
        found, its_version = stock._get_linux_distro(platform)
        versions = families.get(found) or families.get(stock.OS_FAMILY_LOWER.get(found)) if its_version else None
        wanted = versions and stock._version_fuzzy_match(its_version, versions)
        pairs.append([wanted, chooser.choose(platform, discovery._table())])
print(json.dumps(pairs))
"""


def test_discovery_and_agent_start_are_one_session(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """The command line that looks for a Python goes on as the agent."""
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: discovery, gather_facts: false, tasks: [{ping: }, {ping: }]}]")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        before = sshd.sessions()
        first = controller.run(playbook)
        between = sshd.sessions()
        second = controller.run(playbook)
        after = sshd.sessions()
        agents = controller.status()["links"][0]["agents"]
    assert first.rc == second.rc == 0, first.stdout + first.stderr
    assert first.events[0].result["ansible_facts"]["discovered_interpreter_python"].startswith("/usr/bin/python3")
    assert between - before == 1
    # The agent is there already: the question is asked alone, and up to 2.18 a Python for the distribution.
    assert after - between == (1 if core(venv) >= (2, 19) else 2)
    assert len(agents) == 1


@pytest.mark.parametrize("version", [one for one in ("2.7", "3.6", "3.7", "3.8", "3.13") if one in interpreters()])
def test_results_after_discovery_read_as_under_stock(venv: Path, sshd: Sshd, open_folder: Path, version: str) -> None:
    """Old Pythons have words of their own for the script that tells of the distribution."""
    if not runs_on(venv, version):
        pytest.skip("this ansible-core's modules do not run there")
    modules.install(open_folder, "crasher", modules.CRASHER)
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: root, gather_facts: false, tasks: [{crasher: , ignore_errors: true}, {ping: }]}]")
    found = [interpreters()[version], "/usr/bin/python3"]
    variables = {"ansible_python_interpreter": "auto", "ansible_interpreter_python_fallback": found}
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            runs.append(controller.run(playbook, "-e", json.dumps(variables), deadline_seconds=90))
            assert mode == "stock" or controller.status()["tickets"] == 2
    assert "crashed" in str(runs[0].events[0].result), runs[0].stdout
    assert list(map(str, run_differences(*runs))) == []


def test_the_target_finds_in_the_table_what_stock_does(venv: Path) -> None:
    if core(venv) >= (2, 19):
        pytest.skip("this ansible-core has no table")
    command = [str(venv / "bin" / "python"), "-c", COMPARE, json.dumps(RELEASES)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    pairs = json.loads(run.stdout)
    assert len(pairs) == 2 * len(RELEASES)
    assert all(wanted == found for wanted, found in pairs), list(zip(RELEASES, pairs[::2], pairs[1::2], strict=True))
    # The real table has gone with 2.17.
    assert any(wanted for wanted, _ in pairs) == (core(venv) < (2, 17))
