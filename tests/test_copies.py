"""An agent begins with what another agent of the same target was sent, checked and over a socket of the target."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_slipstream.agent import copies as untyped_copies
from ansible_slipstream.agent import frames as untyped_frames
from kit.agent import Agent
from kit.relay import Relay
from kit.runner import Controller
from kit.running import END_SECONDS, ended
from kit.sshd import Sshd

copies: Any = untyped_copies
frames: Any = untyped_frames
COMMAND = "{command: hostname}"
ROOTS_COMMAND = "{command: id -u, become: true}"
# What a session, a start line and a few tickets take; a closure alone has 60,000 bytes and more.
LITTLE = 8_000


@contextmanager
def relayed(controller: Controller, sshd: Sshd, folder: Path) -> Iterator[Any]:
    """Yield a function that runs tasks on a host through a relay and returns the bytes that went up."""
    with Relay(sshd.port) as relay:
        relay.make_known(folder / "run" / "known_hosts")

        def run(host: str, tasks: str, *options: str) -> int:
            before = relay.counts.up
            playbook = folder / "play.yml"
            playbook.write_text(f"[{{hosts: {host}, gather_facts: false, tasks: [{tasks}]}}]")
            result = controller.run(playbook, "-e", f"ansible_port={relay.port}", *options)
            assert result.rc == 0, result.stdout + result.stderr
            return relay.counts.up - before

        yield run


def test_second_run_with_become_sends_little(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with (
        Controller(venv, "slipstream", sshd, open_folder / "run") as controller,
        relayed(controller, sshd, open_folder) as run,
    ):

        def resting() -> int:
            (link,) = controller.status()["links"]
            (agent,) = link["agents"]
            assert agent["resting"] and agent["become"] and agent["uid"] == 0
            return int(agent["pid"])

        assert run("sudo", COMMAND) > LITTLE
        first = resting()
        assert run("sudo", COMMAND) < LITTLE
        second = resting()
        assert second != first and ended(first, END_SECONDS)
        controller.tool("stop")
        assert ended(second, END_SECONDS)


def test_become_agent_begins_with_what_the_login_agent_has(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with (
        Controller(venv, "slipstream", sshd, open_folder / "run") as controller,
        relayed(controller, sshd, open_folder) as run,
    ):
        alone = run("plain", COMMAND)
        controller.tool("stop")
        assert run("plain", f"{COMMAND}, {ROOTS_COMMAND}") < alone + LITTLE
        (link,) = controller.status()["links"]
        # The login agent has as much to give, so the other one is not kept.
        assert [(agent["become"], agent["resting"]) for agent in link["agents"]] == [(False, False)]


@pytest.mark.parametrize(("first", "second"), [("", ", become: true"), (", become: true", "")])
def test_module_that_one_agent_was_sent_later_does_not_cross_again_for_another(
    venv: Path, sshd: Sshd, open_folder: Path, first: str, second: str
) -> None:
    setup = "{setup: {gather_subset: '!all,!min,distribution'}%s}"
    with (
        Controller(venv, "slipstream", sshd, open_folder / "run") as controller,
        relayed(controller, sshd, open_folder) as run,
    ):
        both = f"{COMMAND}, {ROOTS_COMMAND}"
        once = run("plain", f"{both}, {setup % first}")
        controller.tool("stop")
        assert run("plain", f"{both}, {setup % first}, {setup % second}") < once + LITTLE
        assert controller.status()["tickets"] == 4


def test_agents_that_cannot_reach_each_other_are_sent_everything(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    elsewhere = open_folder / "elsewhere"
    elsewhere.write_text('#!/bin/sh\nexec sudo unshare --net sudo "$@"\n')
    elsewhere.chmod(0o755)
    with (
        Controller(venv, "slipstream", sshd, open_folder / "run") as controller,
        relayed(controller, sshd, open_folder) as run,
    ):
        alone = run("plain", COMMAND)
        both = f"{COMMAND}, {ROOTS_COMMAND}, {ROOTS_COMMAND}"
        assert run("plain", both, "-e", f"ansible_become_exe={elsewhere}") > alone / 2
        assert controller.status()["tickets"] == 4


CONTENT = b"x = 1"


def closure(name: str) -> tuple[dict[str, Any], bytes, bytes]:
    """Return the message of a closure with one file, its head and the file."""
    head = json.dumps({"names": name, "files": [0], "sizes": [len(CONTENT)]}).encode()
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"op": "closure", "digest": digest, "head": len(head)}, head, CONTENT


def visit(name: str, token: str, wanted: str = "") -> bytes:
    """Ask for a copy, or for some contents; empty if it is refused."""
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(10)
        visitor.connect(f"\0{name}")
        got = b""
        # Who is sent away with something unread of what it has said hears a reset.
        with suppress(ConnectionResetError, BrokenPipeError):
            visitor.sendall(f"{token}{len(wanted):08}{wanted}".encode())
            while chunk := visitor.recv(65536):
                got += chunk
        return got


def listening(agent: Agent, name: str) -> None:
    """Have the agent listen; its answer to the run that follows tells when it does."""
    agent.tell({"op": "listen", "name": name, "token": "right"})
    agent.tell({"op": "rest"})
    agent.tell({"op": "run", "closure": "", "job": {}}, stream=1)
    assert agent.read() == {"op": "stale", "what": "at rest", "damaged": False}


@pytest.fixture
def holder(interpreter: str) -> Iterator[tuple[Agent, str]]:
    """An agent that was sent one closure and listens, and its socket's name."""
    agent, name = Agent(interpreter), f"slipstream-test-{os.getpid()}"
    control, head, content = closure("a")
    agent.tell(control, zlib.compress(head + content))
    listening(agent, name)
    yield agent, name
    assert agent.end() == b""
    with pytest.raises(ConnectionRefusedError):
        visit(name, "right")


def test_copy_is_given_to_who_knows_the_token_and_is_checked(interpreter: str, holder: tuple[Agent, str]) -> None:
    _, name = holder
    control, head, content = closure("a")
    assert visit(name, "wrong") == b""
    # As often as somebody comes.
    assert visit(name, "right") == visit(name, "right")
    copy = visit(name, "right")
    program, history = copy[8 : 8 + int(copy[:8])], copy[8 + int(copy[:8]) :]
    assert program == b"the program"
    expected = copies.reached("", control, head + content)
    another = frames.message(0, closure("b")[0], zlib.compress(head + content))
    bomb = frames.message(0, control, zlib.compress(bytes(copies.INFLATED_MAX + 1)))
    for given, wanted, copied in (
        (history, expected, True),
        (history + another, expected, True),
        (history, copies.reached("", {**control, "head": 1}, head + content), False),
        (history[:-1], expected, False),
        (b"", expected, False),
        (history[:20] + b"\0" + history[21:], expected, False),
        (b"\xff" * 100, expected, False),
        (bomb, expected, False),
    ):
        other = Agent(interpreter, given, wanted)
        assert other.hello["copied"] is copied, (given[:200], wanted)
        assert other.end() == b""


def test_contents_are_given_by_number(holder: tuple[Agent, str]) -> None:
    assert visit(holder[1], "right", "0") == CONTENT
    assert visit(holder[1], "right", "0,0") == CONTENT * 2
    assert visit(holder[1], "right", "7") == b""
    assert visit(holder[1], "wrong", "0") == b""
    assert visit(holder[1], "right", "no number") == b""


@pytest.mark.parametrize("wrong", ["", "name", "token", "uid", "numbers", "history"])
def test_later_closure_comes_from_another_agent_or_not_at_all(
    interpreter: str, holder: tuple[Agent, str], wrong: str
) -> None:
    control, head, content = closure("b")
    history = copies.reached("", control, head + content)
    source = {"name": holder[1], "token": "right", "uid": os.getuid(), "numbers": [0]}
    whole: dict[str, Any] = {"history": history, "source": source}
    bad = {"name": "nobody", "token": "wrong", "uid": 12345, "numbers": [1], "history": "0" * 64}
    for fields in (whole, source):
        fields.update({name: bad[name] for name in fields if name == wrong})
    agent = Agent(interpreter)
    agent.tell({**control, **whole}, zlib.compress(head))
    name = f"slipstream-test-second-{os.getpid()}"
    agent.tell({"op": "listen", "name": name, "token": "right"})
    agent.tell({"op": "run", "closure": "not sent", "job": {}}, stream=1)
    # What can't be had is said before anything runs.
    assert agent.read() == {"op": "stale", "what": "a closure is damaged", "damaged": bool(wrong)}
    if not wrong:
        # It gives it to others as if it had been sent it.
        copy = visit(name, "right")
        other = Agent(interpreter, copy[8 + int(copy[:8]) :], history)
        assert other.hello["copied"] is True
        assert other.end() == b""
    assert agent.end() == b""


def test_visitor_that_says_nothing_holds_nobody_up(holder: tuple[Agent, str]) -> None:
    agent, name = holder
    silent = [socket.socket(socket.AF_UNIX) for _ in range(copies.VISITORS_MAX)]
    for visitor in silent:
        visitor.settimeout(10)
        visitor.connect(f"\0{name}")
    agent.tell({"op": "run", "closure": "", "job": {}}, stream=2)
    assert agent.read()["op"] == "stale"
    # No more than that many at once: who comes then is sent away.
    assert visit(name, "right") == b""
    for visitor in silent:
        visitor.close()
