"""At a terminal: what asks there gets its answers, and shows what it shows under stock."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import pytest
from kit.accounts import BOB
from kit.masks import mask_text
from kit.runner import MODES, Controller
from kit.sshd import Sshd
from kit.terminal import LATE, converse
from kit.versions import core

ASKED = Path(__file__).parent / "playbooks" / "asked"
VAULT_PASSWORD = (ASKED.parent / "files" / "vault_password").read_text().strip()


def assert_same_talk(
    venv: Path, sshd: Sshd, folder: Path, play: str, answers: Sequence[tuple[str, str]], *options: str
) -> str:
    talks = []
    for mode in MODES:
        with Controller(venv, mode, sshd, folder / "run") as controller:
            talks.append(converse(controller, ASKED / play, answers, *options))
    (code, stock), (our_code, ours) = talks
    before, after = (mask_text(text).splitlines() for text in (stock, ours))
    assert before == after, "\n".join(difflib.unified_diff(before, after, lineterm=""))
    assert (code, our_code) == (0, 0), stock
    return stock


def test_questions_are_asked_as_by_stock(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Passwords of ssh, sudo and the vault, variables, pauses; commands of the controller have no terminal."""
    known_hosts = open_folder / "run" / "known_hosts"
    arguments = f"-o UserKnownHostsFile={known_hosts} -o PubkeyAuthentication=no"
    login = ["-i", "127.0.0.30,", "-u", BOB.name, "-e", f"ansible_port={sshd.port}", "--ssh-common-args", arguments]
    python = ["-e", "ansible_python_interpreter=/usr/bin/python3"]
    answers = [
        ("SSH password: ", f"{BOB.password}\n"),
        ("BECOME password[defaults to SSH password]: ", "\n"),
        ("Vault password: ", f"{VAULT_PASSWORD}\n"),
        ("Which word: ", "harbour\n"),
        ("Which secret: ", "s3cr3t\n"),
        ("confirm Which secret: ", "s3cr3t\n"),
        (f"Say something:\n{LATE}", "something\n"),
        (f"Say nothing (output is hidden):\n{LATE}", "n0thing\n"),
    ]
    asked = ["-k", "-K", "--ask-vault-pass"]
    # Up to 2.18 a local module has the playbook's terminal; ours is the daemon's child (docs/differences.md).
    left_out = ["--skip-tags", "terminal"] if core(venv) < (2, 19) else []
    shown = assert_same_talk(venv, sshd, open_folder, "questions.yml", answers, *login, *python, *asked, *left_out)
    assert BOB.password not in shown and "s3cr3t" not in shown and "n0thing" not in shown
    assert "harbour 6" in shown


@pytest.mark.parametrize("typed", [True, False])
def test_become_password_of_its_own(venv: Path, sshd: Sshd, open_folder: Path, typed: bool) -> None:
    """``-K`` without ``-k``, and ``--become-password-file``."""
    file = open_folder / "password"
    file.write_text(f"{BOB.password}\n")
    options = ["-i", "127.0.0.30,", "-u", BOB.name, "--private-key", str(sshd.user_key)]
    options += ["--ssh-common-args", f"-o UserKnownHostsFile={open_folder}/run/known_hosts"]
    options += ["-e", f"ansible_port={sshd.port} ansible_python_interpreter=/usr/bin/python3"]
    options += ["-K"] if typed else ["--become-password-file", str(file)]
    answers = [("BECOME password: ", f"{BOB.password}\n")] if typed else []
    shown = assert_same_talk(venv, sshd, open_folder, "become.yml", answers, *options)
    assert BOB.password not in shown


def test_steps_and_debugger_are_answered_as_by_stock(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    step = "TASK: {} (N)o/(y)es/(c)ontinue: "
    debug = "(debug)> "
    answers = [
        (step.format("first"), "y\n"),
        (step.format("second"), "n\n"),
        (step.format("third"), "c\n"),
        (debug, "p task.args\n"),
        (debug, "p task.name\n"),
        (debug, "p host\n"),
        (debug, "p task_vars['number']\n"),
        (debug, "task_vars['number'] = 2\n"),
        (debug, "update_task\n"),
        (debug, "redo\n"),
        (debug, "continue\n"),
    ]
    options = ["--step", "--start-at-task", "first", "--diff"]
    assert_same_talk(venv, sshd, open_folder, "steps.yml", answers, *options)
