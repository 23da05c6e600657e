"""Asking the daemon: typed requests over one blocking channel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from .errors import (
    AgentRefused,
    ChannelClosed,
    ChannelTimeout,
    ChoresUndone,
    FailedHere,
    LinkLost,
    NeedsEnvironment,
    NeedsStock,
    NoAgent,
    RequestFailed,
    Unreachable,
)
from .greeting import greet
from .settings import Settings

# Set on data that is standard error.
STDERR_FLAG = 1
# Replies with nothing but a reason.
FAILURES = {"failed": RequestFailed, "failed_here": FailedHere, "lost": LinkLost}

Json = dict[str, Any]


class Overseer(Protocol):
    """Watches the start of an agent that a become plugin starts."""

    @property
    def timeout(self) -> float | None:
        """Seconds to wait for more output; None once nothing more is expected."""

    def output(self, stdout: bytes, stderr: bytes) -> tuple[str, bytes]:
        """Take new output; return ``wait``, ``send`` or ``proceed``, and the secret to send."""

    @property
    def noise(self) -> tuple[bytes, bytes]:
        """What was printed that has nothing to do with the escalation: standard output, standard error."""

    def timed_out(self) -> Exception:
        """Return what to raise when the output did not come."""


@dataclass(frozen=True)
class Link:
    """Everything that makes up one link. ``argv`` ends before the destination, and so does ``masters``, by which ssh
    finds a master of the user's own; empty if there can be none."""

    transport: str
    host: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    umask: int
    linger: float
    compression: str
    target_cache: str
    prompt: str | None = None
    ask_once: bool = False
    secret: bytes = b""
    masters: list[str] = field(default_factory=list)
    # The part of ``env`` that makes another link when it differs.
    identity_env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """Where the master of an open link listens, whether it is one of the user's, what ssh said if this opened it."""

    control_path: str
    is_users: bool
    said: bytes


@dataclass(frozen=True)
class AgentStart:
    """The command line that starts an agent, and what tells it from the link's other agents."""

    key: str
    line: str
    become_started: bool
    # The key under which interpreter discovery has just started this very agent.
    discovered: str | None = None


@dataclass(frozen=True)
class Closure:
    """A module's closure as the daemon keeps it."""

    digest: str
    meta: Json


@dataclass(frozen=True)
class ScanRequest:
    """A module whose closure the daemon is to find; ``world`` is where utilities are."""

    key: str
    run: str
    name: str
    meta: Json
    world: Json
    content: bytes


@dataclass(frozen=True)
class ModuleRequest:
    """One module call. ``job`` is for the agent.

    ``private`` says that parameters or result are secret; ``evict`` ends other idle agents first. ``chores`` are done
    before it, with ``content`` for the files that they write.
    """

    link: Link
    agent: AgentStart
    closure: str
    job: Json
    params: bytes
    run: str
    private: bool = False
    evict: bool = False
    chores: list[Json] = field(default_factory=list)
    content: bytes = b""


@dataclass(frozen=True)
class Result:
    """What a module or command left: return code, standard output, standard error.

    ``tidied`` says that the chores which its job names for afterwards were done.
    """

    rc: int
    stdout: bytes
    stderr: bytes
    tidied: bool = False


@dataclass(frozen=True)
class ChoresDone:
    """What became of chores: how many were done, what the last has said, why the next was not done.

    ``stdout`` and ``stderr`` are what every command there begins with.
    """

    done: int
    said: str
    why: str
    stdout: bytes
    stderr: bytes


class Client:
    """One channel to the daemon. It belongs to the process that made it."""

    def __init__(
        self,
        settings: Settings,
        start: bool = True,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        # Entered while a reply is awaited.
        self._waiting = waiting
        self._channel, self.salt, self.daemon_pid = greet(settings, start)
        # Set when a call was left before its reply (a signal, a task's time-out): the next reply would
        # be taken for another request's.
        self.broken = False
        # By run and module: what a run has found once it keeps, as under stock.
        self._closures: dict[tuple[str, str], Closure] = {}
        # What ssh said as a link opened, for the first whose answer it can stand before.
        self._unsaid: dict[str, bytes] = {}

    def close(self) -> None:
        """Let go of the channel; the client is of no use afterwards."""
        self.broken = True
        del self._channel

    def is_open(self) -> bool:
        """Tell whether the daemon is still there; for use between requests."""
        return not self.broken and self._channel.is_open()

    def ask(self, op: str, body: bytes = b"", descriptor: int | None = None, **fields: Any) -> tuple[Json, bytes]:
        """Send a request and return the reply and its body.

        Raises:
            RequestFailed, Unreachable, AgentRefused, LinkLost, NoAgent: as the daemon says.
            ChannelClosed: the daemon has gone.
        """
        self._send(op, body, descriptor, **fields)
        return self._reply()

    def open_link(self, link: Link) -> Opened:
        """Open a link, or join it.

        Raises:
            Unreachable: with ssh's own words.
        """
        spec = asdict(link)
        for name in ("secret", "identity_env"):
            del spec[name]
        reply, said = self.ask("link", link.secret, key=self.link_key(link), **spec)
        return Opened(reply["control_path"], reply["is_users"], self._take_said(link) + said)

    def _ask_on(self, link: Link, op: str, body: bytes, **fields: Any) -> tuple[Json, bytes]:
        """Ask what a link does, and open it if need be."""
        key = self.link_key(link)
        reply, answer = self.ask(op, body, link=key, **fields)
        if reply["op"] == "need_link":
            self._unsaid[key] = self.open_link(link).said
            reply, answer = self.ask(op, body, link=key, **fields)
        return reply, answer

    def _take_said(self, link: Link) -> bytes:
        # Hardly ever is there something, and the key has its price.
        return self._unsaid.pop(self.link_key(link), b"") if self._unsaid else b""

    def count_bytes(self, link: Link, up: int, down: int) -> None:
        """Count bytes that went over a link to and from its target, past the daemon."""
        self.ask("moved", link=self.link_key(link), up=up, down=down)

    def link_key(self, link: Link) -> str:
        """Return the link's identity: two links that differ in anything that matters differ here."""
        parts = [link.transport, link.host, link.argv, link.masters, link.cwd, link.umask, link.prompt]
        return self._digest([*parts, link.linger, link.compression, link.target_cache, link.identity_env], link.secret)

    def agent_key(self, line: str, secret: bytes) -> str:
        """Return an agent's identity: only who knows the same secret gets the same agent."""
        return self._digest(line, secret)

    def find_closure(self, key: str, run: str, module: str) -> Closure | None:
        """Return the closure that a run has found for a module, else that of ``key`` if its files are as they were."""
        found = self._closures.get((run, module))
        if found is None:
            reply, _ = self.ask("closure_find", key=key, run=run, name=module)
            if reply["op"] == "need_closure":
                return None
            found = self._closures[run, module] = Closure(reply["digest"], reply["meta"])
        return found

    def scan_closure(self, request: ScanRequest, collection: Callable[[str], Json]) -> Closure | None:
        """Have the daemon find a closure; None if only stock Ansible can.

        ``collection`` returns what the daemon has to know of a collection, by name.
        """
        fields = asdict(request)
        content = fields.pop("content")
        known: set[str] = set()
        while True:
            reply, _ = self.ask("closure_scan", content, **fields)
            if reply["op"] == "closure":
                return Closure(reply["digest"], reply["meta"])
            if reply["op"] != "need_collections" or known.issuperset(reply["names"]):
                return None
            known.update(reply["names"])
            fields["world"]["collections"].update({name: collection(name) for name in reply["names"]})

    def store_closure(
        self, key: str, run: str, module: str, closure: Closure, files: dict[str, bytes], stamps: list[Json]
    ) -> None:
        """Store a module's closure under what it was computed from."""
        entries = [
            {"path": path, "digest": hashlib.sha256(content).hexdigest(), "len": len(content)}
            for path, content in files.items()
        ]
        info = {"digest": closure.digest, "files": entries, "meta": closure.meta, "stamps": stamps}
        self.ask("closure_store", b"".join(files.values()), key=key, run=run, name=module, closure=info)

    def run_module(self, request: ModuleRequest, overseer: Overseer, restore: Callable[[], Closure]) -> Result:
        """Run one module on its target and return its result.

        ``overseer`` watches the start of an agent that a become plugin starts; ``restore`` stores the
        closure again if the daemon has dropped it.

        Raises:
            RequestFailed: the daemon can't have the closure again, as its files have changed; nothing ran.
            Unreachable: no link; nothing ran.
            AgentRefused: no agent; nothing ran.
            NeedsEnvironment: the start line has to carry the job's environment; nothing ran.
            NeedsStock: no agent of that interpreter takes the module; nothing ran.
            ChoresUndone: what should have been done before could not all be; the module was not begun.
            LinkLost: the link broke after sending; the module may have run.
        """
        key = self.link_key(request.link)
        fields: Json = {
            "link": key,
            "agent": asdict(request.agent),
            "closure": request.closure,
            "job": request.job,
            "run": request.run,
            "private": request.private,
            "evict": request.evict,
        }
        if request.chores:
            fields["first"] = {"chores": request.chores, "size": len(request.content)}
        while True:
            self._send("run", request.content + request.params, None, **fields)
            reply, body, output = self._follow(overseer)
            if reply["op"] == "need_link":
                self._unsaid[key] = self.open_link(request.link).said
            elif reply["op"] == "need_closure":
                if restore().digest != request.closure:
                    self._closures.clear()
                    raise RequestFailed("its files have changed since the run began")
            elif reply["op"] == "chores":
                raise ChoresUndone(reply["why"])
            else:
                break
        rest = _split(body, reply["out"])
        stdout, stderr = bytes(output[0]) + rest[0], bytes(output[1]) + rest[1]
        return Result(reply["rc"], stdout, self._take_said(request.link) + stderr, reply.get("tidied", False))

    def discover(self, link: Link, agent: AgentStart, chooser: bytes = b"") -> Result | None:
        """Run interpreter discovery, whose line ends as an agent, and return what it printed.

        ``chooser`` is a program that the line reads before the agent. None if the link has an agent of the login
        account already: nothing was run.

        Raises:
            Unreachable: no link; nothing ran.
        """
        try:
            reply, body = self._ask_on(link, "discover", chooser, agent=asdict(agent))
        except NoAgent:
            return None
        except AgentRefused as refused:
            return Result(refused.rc, refused.stdout, self._take_said(link) + refused.stderr)
        if reply["op"] != "exit":
            return None
        stdout, stderr = _split(body, reply["out"])
        return Result(reply["rc"], stdout, self._take_said(link) + stderr)

    def _follow(self, overseer: Overseer) -> tuple[Json, bytes, tuple[bytearray, bytearray]]:
        """Collect output and answer prompts until the run's reply."""
        output = bytearray(), bytearray()
        while True:
            try:
                control, body, flags = self._receive(overseer.timeout)
            except ChannelTimeout:
                self._abort()
                raise overseer.timed_out() from None
            except ChannelClosed as gone:
                raise LinkLost("slipstreamd ended while the module was running") from gone
            if control is None:
                output[flags & STDERR_FLAG].extend(body)
                continue
            reply = _checked(json.loads(control), body)
            if reply["op"] != "prompt":
                return reply, body, output
            self._oversee(overseer, body, reply["out"])

    def _oversee(self, overseer: Overseer, body: bytes, out: int) -> None:
        try:
            action, secret = overseer.output(*_split(body, out))
        except BaseException:
            self._abort()
            raise
        if action == "proceed":
            before = overseer.noise
            self._send("answer", b"".join(before), None, action=action, out=len(before[0]))
        else:
            self._send("answer", secret, None, action=action)

    def _abort(self) -> None:
        self._send("answer", b"", None, action="abort")
        # More output may be on its way; the channel is of use again after the last reply.
        while True:
            control, _body, _flags = self._receive(None)
            if control is not None and json.loads(control)["op"] != "prompt":
                return

    def do_chores(
        self, link: Link, shell: str, agent: AgentStart | None, chores: list[Json], content: bytes, run: str
    ) -> ChoresDone | None:
        """Have small things done by an agent of the login account; ``agent`` is what to start if none runs.

        ``shell`` is what has to have started it, as its command line says it; empty for any.

        ``content`` is that of the files to write, one after the other. None if nothing was done for want of an agent.

        Raises:
            Unreachable: no link; nothing was done.
            LinkLost: the link broke meanwhile.
        """
        fields: Json = {"shell": shell, "agent": agent and asdict(agent), "chores": chores, "run": run}
        try:
            reply, body = self._ask_on(link, "chores", content, **fields)
        except NoAgent:
            return None
        if reply["op"] != "chores":
            return None
        stdout, stderr = _split(body, reply["out"])
        return ChoresDone(reply["done"], reply["said"], reply["why"], stdout, self._take_said(link) + stderr)

    def put(self, link: Link, path: str, mode: int, run: str, descriptor: int) -> None:
        """Send the file behind ``descriptor``; it appears at ``path`` whole or not at all."""
        self.ask("put", b"", descriptor, link=self.link_key(link), path=path, mode=mode, run=run)

    def fetch(self, link: Link, path: str, run: str, descriptor: int) -> int:
        """Write a target's file into ``descriptor`` and return its permission bits."""
        reply, _ = self.ask("fetch", b"", descriptor, link=self.link_key(link), path=path, run=run)
        return int(reply["mode"])

    def reset(self, link: Link) -> None:
        """End a link and its agents."""
        self.ask("reset", link=self.link_key(link))

    def evict(self, link: Link) -> None:
        """End idle agents that would stand in the way of a command that is about to run on a link."""
        self.ask("evict", link=self.link_key(link))

    def _digest(self, parts: object, secret: bytes) -> str:
        text = json.dumps([self.salt, parts], sort_keys=True).encode() + b"\0" + secret
        return hashlib.sha256(text).hexdigest()

    def _send(self, op: str, body: bytes, descriptor: int | None, **fields: Any) -> None:
        text = json.dumps({"op": op, **fields}).encode()
        try:
            self._channel.send(text, body, descriptor)
        except BaseException:
            self.broken = True
            raise

    def _receive(self, timeout: float | None) -> tuple[bytes | None, bytes, int]:
        try:
            with self._waiting():
                return self._channel.receive(timeout)
        except ChannelTimeout:
            raise
        except BaseException:
            self.broken = True
            raise

    def _reply(self) -> tuple[Json, bytes]:
        control, body, _ = self._receive(None)
        return _checked(json.loads(control or b"{}"), body), body


def _checked(reply: Json, body: bytes) -> Json:
    """Return the reply, or raise what it says."""
    op = reply.get("op")
    if op in FAILURES:
        raise FAILURES[op](reply["message"])
    if op == "no_agent":
        raise NoAgent("no agent of the login account runs on that link")
    if op == "needs_environment":
        raise NeedsEnvironment("the interpreter is a wrapper, which has to see the task's environment")
    if op == "needs_stock":
        raise NeedsStock(reply["why"])
    if op == "unreachable":
        raise Unreachable(reply["rc"], body, reply["denied"])
    if op == "refused":
        raise AgentRefused(reply["rc"], *_split(body, reply["out"]))
    return reply


def _split(body: bytes, out: int) -> tuple[bytes, bytes]:
    return body[:out], body[out:]
