"""Links: one login shared and kept, every refusal in stock's words."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.accounts import CAROL
from kit.relay import Relay
from kit.runner import MODES, Controller, Run
from kit.sshd import Sshd
from kit.versions import core

PING = "[{hosts: %s, gather_facts: false, tasks: [{name: ping, ping: }]}]"


def ping(controller: Controller, folder: Path, *options: str, hosts: str = "plain") -> Run:
    playbook = folder / "ping.yml"
    playbook.write_text(PING % hosts)
    return controller.run_settled(playbook, *options, deadline_seconds=120)


@pytest.fixture
def controller(venv: Path, sshd: Sshd, open_folder: Path) -> Iterator[Controller]:
    """A controller with a daemon of its own."""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as made:
        yield made


def test_second_playbook_within_linger_opens_no_connection(
    controller: Controller, sshd: Sshd, open_folder: Path
) -> None:
    before = sshd.accepted_logins()
    assert ping(controller, open_folder).rc == 0
    assert sshd.accepted_logins() == before + 1
    assert ping(controller, open_folder).rc == 0
    assert sshd.accepted_logins() == before + 1


def test_first_task_takes_no_more_round_trips_than_under_stock(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Although it starts an agent: the module goes with the agent, before that has said a word."""
    turns = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as made, Relay(sshd.port, delay=0.03) as relay:
            relay.make_known(open_folder / "run" / "known_hosts")
            python = "-e ansible_python_interpreter=/usr/bin/python3"
            run = ping(made, open_folder, "-e", f"ansible_port={relay.port}", *python.split())
            assert run.rc == 0, run.stdout
            assert mode == "stock" or made.status()["tickets"] == 1
            turns.append(relay.counts.turns)
    assert turns[1] <= turns[0]


def test_linger_is_a_setting(
    controller: Controller, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPSTREAM_LINGER", "0")
    before = sshd.accepted_logins()
    assert ping(controller, open_folder).rc == 0
    assert ping(controller, open_folder).rc == 0
    assert sshd.accepted_logins() >= before + 2
    assert controller.status()["links"] == []


def test_literal_command_keeps_its_link(
    controller: Controller, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that takes longer than the link would linger is not cut off."""
    monkeypatch.setenv("SLIPSTREAM_LINGER", "0.2")
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: plain, gather_facts: false, tasks: [{raw: sleep 2; echo done}]}]")
    run = controller.run(playbook, deadline_seconds=60)
    assert run.rc == 0, run.stdout


def test_relative_paths_are_meant_from_the_playbook(controller: Controller, sshd: Sshd, open_folder: Path) -> None:
    (open_folder / "keys").mkdir()
    (open_folder / "keys" / "a").write_bytes(sshd.user_key.read_bytes())
    (open_folder / "keys" / "a").chmod(0o600)
    run = ping(controller, open_folder, "-e", "ansible_ssh_private_key_file=keys/a")
    assert run.rc == 0, run.stdout
    assert controller.status()["tickets"] == 1


def test_many_tasks_on_one_host_share_one_login(controller: Controller, sshd: Sshd, open_folder: Path) -> None:
    many = open_folder / "run" / "many.ini"
    names = "\n".join(f"many{n} ansible_host=127.0.0.99" for n in range(20))
    many.write_text(f"[remote]\n{names}\n[remote:vars]\nansible_python_interpreter=/usr/bin/python3\n")
    both = ["-i", str(open_folder / "run" / "inventory.json"), "-i", str(many), "--forks", "20"]
    before = sshd.accepted_logins()
    run = ping(controller, open_folder, *both, hosts="'many*'")
    assert run.rc == 0, run.stdout
    assert sshd.accepted_logins() == before + 1
    status = controller.status()
    assert status["tickets"] == 20 and len(status["links"]) == 1 and len(status["links"][0]["agents"]) == 1


def test_tasks_for_one_account_run_at_the_same_time(controller: Controller, open_folder: Path) -> None:
    """Each of two tasks on one agent waits for the other: one after the other they would never end."""
    for name in ("one", "two"):
        os.mkfifo(open_folder / name)
        (open_folder / name).chmod(0o666)
    both = open_folder / "run" / "both.ini"
    both.write_text(
        "[remote]\n"
        f"first ansible_host=127.0.0.99 line='echo a > {open_folder}/one; cat {open_folder}/two'\n"
        f"second ansible_host=127.0.0.99 line='cat {open_folder}/one; echo b > {open_folder}/two'\n"
        "[remote:vars]\nansible_python_interpreter=/usr/bin/python3\n"
    )
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: 'first:second', gather_facts: false, tasks: [{shell: '{{ line }}'}]}]")
    sources = ["-i", str(open_folder / "run" / "inventory.json"), "-i", str(both)]
    assert controller.run(playbook, *sources, deadline_seconds=60).rc == 0
    assert len(controller.status()["links"][0]["agents"]) == 1


def test_agents_of_a_link_are_bounded(controller: Controller, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    task = "{command: printenv LC_WORD, environment: {LC_WORD: 'w{{ item }}'}, loop: '{{ range(40) | list }}'}"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{task}]}}]")
    run = controller.run(playbook, deadline_seconds=120)
    assert run.rc == 0, run.stdout
    (whole,) = [event for event in run.events if event.kind == "ok"]
    assert [item["stdout"] for item in whole.result["results"]] == [f"w{n}" for n in range(40)]
    status = controller.status()
    assert status["tickets"] == 40 and 1 < len(status["links"][0]["agents"]) <= 8


@pytest.mark.parametrize("sessions", [1, 10])
def test_servers_that_limit_sessions(venv: Path, users: None, open_folder: Path, sessions: int) -> None:
    playbook = open_folder / "play.yml"
    tasks = "[{ping: }, {command: id, become: true}, {raw: id}, {copy: {content: x, dest: '{{ work }}/x'}}]"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: {tasks}}}]")
    with (
        Sshd(max_sessions=sessions) as limited,
        Controller(venv, "slipstream", limited, open_folder / "run") as controller,
    ):
        run = controller.run(playbook, deadline_seconds=90)
        assert run.rc == 0, run.stdout + run.stderr
        assert controller.status()["tickets"] == 4


def test_status_counts_what_stock_moves_over_the_link(controller: Controller, open_folder: Path) -> None:
    """Literal commands and, where no agent runs, transfers by sftp."""
    playbook = open_folder / "play.yml"
    (open_folder / "script").write_text(f"#!/bin/sh\n# {'x' * 100_000}\n")
    raw = "{raw: 'head -c 200000 /dev/zero'}"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{raw}, {{script: {open_folder}/script}}]}}]")
    run = controller.run(playbook, deadline_seconds=60)
    assert run.rc == 0, run.stdout + run.stderr
    (link,) = controller.status()["links"]
    assert link["agents"] == []
    assert 100_000 < link["bytes_up"] < 110_000
    assert 200_000 < link["bytes_down"] < 210_000


def test_reset_connection_logs_in_again(controller: Controller, sshd: Sshd, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    tasks = "[{ping: }, {meta: reset_connection}, {ping: }]"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: {tasks}}}]")
    before = sshd.accepted_logins()
    assert controller.run(playbook, deadline_seconds=60).rc == 0
    assert sshd.accepted_logins() == before + 2
    assert len(controller.status()["links"]) == 1


def test_password_logs_in_without_sshpass_seeing_it(controller: Controller, open_folder: Path) -> None:
    run = ping(controller, open_folder, hosts="password")
    assert run.rc == 0, run.stdout + run.stderr
    assert controller.status()["tickets"] == 1


def test_link_attempts_are_repeated_as_configured(
    controller: Controller, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ping(controller, open_folder, "-e", "ansible_ssh_retries=2", "-vv", hosts="refused")
    assert run.rc == 4
    assert run.stdout.count("ssh_retry: attempt:") == 2


# What goes wrong, as inventory variables of the host; each has to read as it does under stock.
TROUBLES = {
    "refused": {"ansible_port": "1"},
    "wrong-key": {"ansible_ssh_private_key_file": "{folder}/other_key"},
    "missing-key": {"ansible_ssh_private_key_file": "{folder}/no_key"},
    "unknown-host": {"ansible_ssh_common_args": "-o UserKnownHostsFile={folder}/nobody"},
    "changed-host-key": {"ansible_ssh_common_args": "-o UserKnownHostsFile={folder}/changed"},
    "unresolvable": {"ansible_host": "no.such.host.invalid"},
    "bad-option": {"ansible_ssh_common_args": "-o NoSuchOption=1"},
    "bad-jump": {"ansible_ssh_common_args": "-o ProxyCommand=false"},
    "no-ssh": {"ansible_ssh_executable": "/no/such/ssh"},
    "no-account": {"ansible_user": "slip-nobody"},
    "unknown-host-password": {
        "ansible_ssh_common_args": "-o UserKnownHostsFile={folder}/nobody",
        "ansible_password": CAROL.password,
        "ansible_user": CAROL.name,
    },
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_reads_as_under_stock(venv: Path, sshd: Sshd, open_folder: Path, trouble: str) -> None:
    for name in ("other_key", "other_host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(open_folder / name)], check=True)
    kind, key = (open_folder / "other_host_key.pub").read_text().split()[:2]
    (open_folder / "changed").write_text(f"[127.0.0.*]:{sshd.port} {kind} {key}\n")
    (open_folder / "nobody").write_text("")
    variables = [f"-e{name}='{value.format(folder=open_folder)}'" for name, value in TROUBLES[trouble].items()]
    seen = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            run = ping(controller, open_folder, *variables)
            seen.append((run.rc, [(event.kind, event.result) for event in run.events]))
    assert seen[0][0] != 0
    assert seen[0] == seen[1]


def test_server_that_takes_no_session_reads_as_under_stock(venv: Path, users: None, open_folder: Path) -> None:
    """What was to be sent in it is known not to have been."""
    seen = []
    with Sshd(max_sessions=0) as closed:
        for mode in MODES:
            with Controller(venv, mode, closed, open_folder / "run") as controller:
                options = ["-e", "ansible_python_interpreter=/usr/bin/python3", "-e", "ansible_ssh_retries=1", "-vv"]
                run = ping(controller, open_folder, *options)
                (unreachable,) = [event.result["msg"] for event in run.events if event.kind == "unreachable"]
                # The rest names a socket.
                words = unreachable.partition("Session open refused by peer")[0]
                seen.append((run.rc, words, run.stdout.count("ssh_retry: attempt:")))
    assert seen[0][0] == 4 and seen[0][2] == 1
    assert seen[0] == seen[1]


@contextlib.contextmanager
def carols_bashrc(text: str) -> Iterator[None]:
    """Have Carol's shell run that before every command."""
    bashrc = Path(f"~{CAROL.name}/.bashrc").expanduser()
    before = bashrc.read_text() if bashrc.exists() else None
    bashrc.write_text(text)
    try:
        yield
    finally:
        if before is None:
            bashrc.unlink()
        else:
            bashrc.write_text(before)


def test_login_shell_that_prints_is_tolerated(controller: Controller, users: None, open_folder: Path) -> None:
    with carols_bashrc("echo Welcome; echo 'have a nice day' >&2; printf '\\0SLIPSTREAM'\n"):
        run = ping(controller, open_folder, "-e", f"ansible_user={CAROL.name}")
        assert run.rc == 0, run.stdout + run.stderr
        assert controller.status()["tickets"] == 1


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("known", [True, False], ids=["given", "discovered"])
def test_login_shell_that_prints_megabytes_is_tolerated(
    venv: Path, sshd: Sshd, users: None, open_folder: Path, known: bool, stream: int
) -> None:
    """More than is kept of it, and more than a pipe and a session hold."""
    options = ["-e", f"ansible_user={CAROL.name}", "-e", f"ansible_password={CAROL.password}"]
    options += ["-e", "ansible_python_interpreter=/usr/bin/python3"] if known else []
    seen = []
    with carols_bashrc(f"yes 'Welcome, welcome!' | head -c 5000000 >&{stream}\n"):
        for mode in MODES:
            with Controller(venv, mode, sshd, open_folder / "run") as controller:
                run = ping(controller, open_folder, *options)
                seen.append((run.rc, [(event.kind, event.result.get("ping")) for event in run.events]))
    assert seen[0][0] == 0
    assert seen[0] == seen[1]


def test_locale_is_sent_on_as_ssh_is_configured_to(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: plain, gather_facts: false, tasks: [{name: env, command: env}]}]")
    sent = ["-e", "ansible_ssh_extra_args='-o SendEnv=LC_PAPER'"]
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        environment = {**controller.environment(), "LC_PAPER": "C.UTF-8", "SLIPSTREAM_UNRELATED": "1"}
        controller.environment = lambda: environment  # type: ignore[method-assign]
        run = controller.run(playbook, *sent, deadline_seconds=60)
    (event,) = [event for event in run.events if event.task == "env"]
    lines = event.result["stdout_lines"]
    assert "LC_PAPER=C.UTF-8" in lines
    assert not any(line.startswith("SLIPSTREAM") for line in lines)


def test_key_in_a_variable_with_a_passphrase(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 2.19 on stock unlocks such a key and hands it to an agent of its own, which ssh asks."""
    if core(venv) < (2, 19):
        pytest.skip("this ansible-core takes no keys from variables")
    key, passphrase = open_folder / "key", "a passphrase nobody else has"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(key)]
    subprocess.run(command, check=True)
    authorized = sshd.folder / "authorized" / CAROL.name
    before = authorized.read_text()
    monkeypatch.setenv("SLIPSTREAM_LOG", "trace")
    variables = {
        "ansible_user": CAROL.name,
        "ansible_ssh_private_key": key.read_text(),
        "ansible_ssh_private_key_passphrase": passphrase,
        "ansible_ssh_private_key_file": None,
    }
    (open_folder / "key.json").write_text(json.dumps(variables))
    authorized.write_text(before + (open_folder / "key.pub").read_text())
    try:
        with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
            config = open_folder / "run" / "ansible.cfg"
            config.write_text(config.read_text() + "\n[connection]\nssh_agent = auto\n")
            right = ping(controller, open_folder, "-e", f"@{open_folder}/key.json")
            log = (controller.slipstream_folder / "daemon.log").read_text()
            tickets = controller.status()["tickets"]
    finally:
        authorized.write_text(before)
    assert right.rc == 0, right.stdout + right.stderr
    assert tickets == 1
    assert passphrase not in log


def test_connection_lines_keep_the_shape_that_stock_gives_them(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """People and log scrapers read what -vvv says: who connects, and the command that runs there."""
    playbook = open_folder / "play.yml"
    tasks = "[{ping: }, {command: id -un, become: true}, {raw: echo raw}]"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: {tasks}}}]")
    said = []
    for kind in MODES:
        with Controller(venv, kind, sshd, open_folder / "run") as controller:
            run = controller.run(playbook, "-vvv")
        assert run.rc == 0, run.stdout + run.stderr
        lines = [line for line in run.stdout.splitlines() if " SSH: EXEC " in line or " ESTABLISH " in line]
        said.append(
            [re.sub(r"-o ControlMaster=no|-o '?ControlPath=\S+|BECOME-SUCCESS-\w+", "", line) for line in lines]
        )
    assert [line.split() for line in said[0]] == [line.split() for line in said[1]]
