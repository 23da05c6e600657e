"""A secret given to a run is in no argument, environment, log or file while it runs or after."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from kit.accounts import BOB, CAROL
from kit.runner import Controller
from kit.running import waiting
from kit.sshd import Sshd

PLACES = ("cmdline", "environ")


def processes_that_show(secret: bytes) -> list[str]:
    """Return the processes in whose arguments or environment the secret stands."""
    found = []
    for entry in Path("/proc").iterdir():
        for place in PLACES if entry.name.isdigit() else ():
            try:
                if secret in (entry / place).read_bytes():
                    found.append(f"{entry.name}/{place}: {(entry / 'cmdline').read_bytes()!r}")
            except OSError:
                continue
    return found


def files_that_show(folder: Path, secret: bytes) -> list[Path]:
    """Return the files below `folder` with the secret, plain or in base64."""
    forms = (secret, base64.b64encode(secret).rstrip(b"="))
    return [path for path in folder.rglob("*") if path.is_file() and any(form in path.read_bytes() for form in forms)]


@pytest.mark.parametrize(("host", "account"), [("password", CAROL), ("sudo_password", BOB)])
def test_secret_shows_nowhere(
    venv: Path, sshd: Sshd, open_folder: Path, host: str, account: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (CAROL if host == "password" else BOB).password.encode()
    monkeypatch.setenv("SLIPSTREAM_LOG", "trace")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        with waiting(controller, open_folder, hosts=host, become=host != "password") as run:
            assert processes_that_show(secret) == []
            assert run.agents
        log = (controller.slipstream_folder / "daemon.log").read_bytes()
        assert len(log) > 100 and secret not in log
        # The inventory is where the tests themselves keep it.
        shown = files_that_show(open_folder, secret)
        assert [path.name for path in shown] == ["inventory.json"]


def test_module_arguments_are_not_logged(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPSTREAM_LOG", "trace")
    playbook = open_folder / "play.yml"
    task = "{copy: {content: hush-hush-4711, dest: '{{ work }}/x'}, no_log: true, environment: {TOKEN: hush-hush-4711}}"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{task}]}}]")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        assert controller.run(playbook, deadline_seconds=60).rc == 0
        log = (controller.slipstream_folder / "daemon.log").read_text()
    assert "hush-hush" not in log and "agent up" in log
