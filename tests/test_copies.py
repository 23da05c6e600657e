"""An agent begins with what another agent of the same target was sent, checked and over a socket of the target."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_slipstream.agent import copies as untyped_copies
from ansible_slipstream.agent import frames as untyped_frames
from kit.interpreters import interpreters
from kit.relay import Relay
from kit.runner import Controller
from kit.running import END_SECONDS, ended
from kit.sshd import Sshd

copies: Any = untyped_copies
frames: Any = untyped_frames
AGENT = Path(untyped_frames.__file__).parent
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


class Agent:
    """An agent whose daemon is the test."""

    def __init__(self, interpreter: str, history: bytes = b"", expected: str = "") -> None:
        code = f"import sys; sys.path.insert(0, {str(AGENT.parent)!r}); from agent import loop; "
        code += f"loop.main(b'the program', {history!r}, {expected!r}, '')"
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([interpreter, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe)
        self._decoder = frames.Decoder()
        assert self._process.stdout
        assert self._process.stdout.read(len(frames.GREETING)) == frames.GREETING
        self.hello = self.read()

    def tell(self, control: Any, body: bytes = b"", stream: int = 0) -> None:
        """Send a message."""
        assert self._process.stdin
        self._process.stdin.write(frames.message(stream, control, body))
        self._process.stdin.flush()

    def read(self) -> Any:
        """Return the next message's control part."""
        assert self._process.stdout
        header = self._process.stdout.read(frames.HEADER.size)
        control, body, *_ = frames.HEADER.unpack(header)
        (frame,) = self._decoder.feed(header + self._process.stdout.read(control + body))
        return frame.control

    def end(self) -> bytes:
        """Close the channel and return what the agent said of errors."""
        said = self._process.communicate(timeout=20)[1]
        assert self._process.returncode == 0
        return said


def closure(name: str) -> tuple[dict[str, Any], bytes]:
    head = json.dumps({"names": name, "files": [0], "sizes": [5]}).encode()
    return {"op": "closure", "digest": hashlib.sha256(name.encode()).hexdigest(), "head": len(head)}, zlib.compress(
        head + b"x = 1"
    )


def visit(name: str, token: str) -> bytes:
    """Ask for a copy; empty if it is refused."""
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(10)
        visitor.connect(f"\0{name}")
        visitor.sendall(token.encode())
        got = b""
        while chunk := visitor.recv(65536):
            got += chunk
        return got


@pytest.fixture(params=sorted(interpreters()))
def interpreter(request: pytest.FixtureRequest) -> str:
    return interpreters()[request.param]


def offered(agent: Agent, name: str) -> None:
    """Have the agent offer itself; its answer to the run that follows tells when it has."""
    agent.tell({"op": "serve", "name": name, "token": "right"})
    agent.tell({"op": "rest"})
    agent.tell({"op": "run", "closure": "", "job": {}}, stream=1)
    assert agent.read() == {"op": "stale", "what": "at rest"}


def test_copy_is_given_to_who_knows_the_token_and_is_checked(interpreter: str) -> None:
    name = f"slipstream-test-{os.getpid()}"
    control, body = closure("a")
    agent = Agent(interpreter)
    agent.tell(control, body)
    offered(agent, name)
    assert visit(name, "wrong") == b""
    copy = visit(name, "right")
    assert agent.end() == b""
    with pytest.raises(ConnectionRefusedError):
        visit(name, "right")
    program, history = copy[8 : 8 + int(copy[:8])], copy[8 + int(copy[:8]) :]
    assert program == b"the program"
    expected = copies.reached("", control, body)
    for given, wanted, copied in (
        (history, expected, True),
        (history + frames.message(0, *closure("b")), expected, True),
        (history, copies.reached("", {**control, "head": 1}, body), False),
        (history[:-1], expected, False),
        (b"", expected, False),
        (history[:20] + b"\0" + history[21:], expected, False),
        (b"\xff" * 100, expected, False),
    ):
        other = Agent(interpreter, given, wanted)
        assert other.hello["copied"] is copied, (given, wanted)
        assert other.end() == b""


def test_offer_ends_with_its_agent(interpreter: str) -> None:
    name = f"slipstream-test-{os.getpid()}"
    agent = Agent(interpreter)
    offered(agent, name)
    assert agent.end() == b""
    with pytest.raises(ConnectionRefusedError):
        visit(name, "right")
