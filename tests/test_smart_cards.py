"""Keys on a smart card: the PIN goes where a password would. SoftHSM is the card."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kit.accounts import ALICE
from kit.compare import run_differences
from kit.runner import MODES, Controller
from kit.sshd import Sshd

PROVIDER = next(Path("/usr/lib").glob("**/softhsm/libsofthsm2.so"), None)
PIN = "2846"
PLAY = f"""\
- hosts: plain
  gather_facts: false
  ignore_errors: true
  ignore_unreachable: true
  vars:
    ansible_ssh_private_key_file: null
    ansible_ssh_pkcs11_provider: {PROVIDER}
    ansible_password: "{PIN}"
  tasks:
    - {{name: command, command: id -un}}
    - {{name: copy, copy: {{content: x, dest: "{{{{ work }}}}/x"}}}}
    - {{name: raw, raw: id -un}}
    - {{name: become, command: id -un, become: true}}
    - {{name: wrong, command: id -un, vars: {{ansible_password: "1111", ansible_host: 127.0.0.211}}}}
    - {{name: none, command: id -un, vars: {{ansible_password: null, ansible_host: 127.0.0.212}}}}
    - {{name: no such card, command: id, vars: {{ansible_ssh_pkcs11_provider: /no/such, ansible_host: 127.0.0.213}}}}
    - {{name: own words, command: id -un, vars: {{ansible_sshpass_prompt: PIN, ansible_host: 127.0.0.214}}}}
    - {{meta: reset_connection}}
    - {{name: again, command: id -un}}
    - {{meta: reset_connection, vars: {{ansible_password: null}}}}
"""


@pytest.fixture
def card(open_folder: Path) -> dict[str, str]:
    """Make a card with a key; return the environment that finds it."""
    tokens, settings = open_folder / "tokens", open_folder / "softhsm2.conf"
    tokens.mkdir()
    settings.write_text(f"directories.tokendir = {tokens}\n")
    environment = {"SOFTHSM2_CONF": str(settings), "PATH": "/usr/bin:/bin"}
    token = ["softhsm2-util", "--init-token", "--free", "--label", "card", "--pin", PIN, "--so-pin", PIN]
    key = ["pkcs11-tool", "--module", str(PROVIDER), "--login", "--pin", PIN, "--keypairgen", "--key-type", "rsa:2048"]
    for command in (token, [*key, "--id", "01", "--label", "key"]):
        subprocess.run(command, env=environment, check=True, capture_output=True)
    return environment


@pytest.mark.skipif(PROVIDER is None, reason="SoftHSM is not installed")
def test_pin_is_given_where_it_is_asked_for(venv: Path, users: None, open_folder: Path, card: dict[str, str]) -> None:
    playbook = open_folder / "play.yml"
    playbook.write_text(PLAY)
    listed = subprocess.run(["ssh-keygen", "-D", str(PROVIDER)], env=card, check=True, capture_output=True, text=True)
    runs = []
    with Sshd() as sshd:
        (sshd.folder / "authorized" / ALICE.name).write_text(listed.stdout)
        for mode in MODES:
            environment = {"SOFTHSM2_CONF": card["SOFTHSM2_CONF"]}
            with Controller(venv, mode, sshd, open_folder / "run", environment=environment) as controller:
                runs.append(controller.run_settled(playbook, deadline_seconds=120))
                report = controller.status() if mode == "slipstream" else {}
    found = list(map(str, run_differences(*runs)))
    assert not found, "\n".join(found)
    ends = {event.task: event.kind for event in runs[0].events}
    assert (ends["become"], ends["wrong"], ends["own words"], ends["again"]) == ("ok", "unreachable", "ok", "ok"), ends
    assert "must specify a password/pin" in next(e.result["msg"] for e in runs[0].events if e.task == "none")
    assert report["tickets"] >= 4, report
