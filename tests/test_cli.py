"""The `slipstream` command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit.runner import Controller
from kit.running import ended
from kit.sshd import Sshd


def test_status_shows_link_agent_and_counters(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    tasks = "[{ping: }, {command: id, become: true}, {shell: 'true', async: 10, poll: 1}]"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: {tasks}}}]")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        assert controller.run(playbook, deadline_seconds=60).rc == 0
        status = controller.status()
        text = controller.tool("status").stdout
    (link,) = status["links"]
    assert status["running"] and status["tickets"] == link["tickets"] >= 3
    assert "async" in status["stock"]
    assert link["host"] == "127.0.0.2" and link["bytes_up"] > 10_000 and link["bytes_down"] > 100
    assert 0 <= link["idle_s"] < 60 and link["linger_s"] == 60 and link["pid"] > 0
    assert status["closures"]["known"] >= 2 and status["closures"]["misses"] >= 2
    agent, store = sorted(link["agents"], key=lambda agent: bool(agent["become"]))
    assert agent["interpreter"] == "/usr/bin/python3" and not agent["become"] and not agent["busy"]
    assert f"agent {agent['pid']}: /usr/bin/python3" in text and "by stock Ansible: " in text
    assert store["become"] and store["resting"] and "uid 0, become, resting" in text


def test_stop_ends_the_daemon(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        assert controller.tool("doctor").returncode == 0
        pid = controller.status()["pid"]
        assert json.loads(controller.tool("stop", "--json").stdout) == {"stopped": True, "pid": pid}
        assert ended(pid, 5)
        assert json.loads(controller.tool("stop", "--json").stdout) == {"stopped": False}
        assert controller.status()["running"] is False


def test_doctor_names_what_is_wrong(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        controller.slipstream_folder.chmod(0o755)
        done = controller.tool("doctor", "--json")
        controller.slipstream_folder.chmod(0o700)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert checks["ssh"]["ok"] and checks["ansible-core"]["ok"] and checks["collection slipstream.core"]["ok"]
    assert not checks["daemon"]["ok"] and "0700" in checks["daemon"]["text"]


def test_version_names_all_three(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        report = json.loads(controller.tool("version", "--json").stdout)
    assert report["slipstream"] and report["daemon"] is None and report["ansible_core"].startswith("2.")


@pytest.mark.parametrize("level", ["debug", "off"])
def test_log_level_is_set(venv: Path, sshd: Sshd, open_folder: Path, level: str) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        assert controller.tool("log", level).returncode == 1
        controller.tool("doctor")
        assert json.loads(controller.tool("log", level, "--json").stdout) == {"level": level}
