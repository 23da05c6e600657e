"""The prompt exchange: the become plugin's own checks, applied to an agent's start line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_native

from .ticket import NotStarted
from .versions import HAS_PROFILES

# ssh's own debug lines must not be taken for prompts.
SSH_DEBUG = re.compile(rb"^debug\d+: ")


class Escalation:
    """Decides, as stock's ssh connection does, what to do with a start line's output.

    Raises AnsibleError from `output` with stock's words: wrong password, missing password; NotStarted where
    none was given.
    """

    def __init__(self, become: Any, secret: bytes, timeout_s: float, show: Callable[[str], None]) -> None:
        self._become = become
        self._secret = secret
        self._timeout_s = timeout_s
        self._show = show
        self._lines = {"stdout": b"", "stderr": b""}
        self._noise = {"stdout": b"", "stderr": b""}
        self._asked_for_secret = not getattr(become, "prompt", None)
        # Whether the start line has said anything: an agent that runs already has no more to say.
        self.begun = self._over = False

    @property
    def timeout(self) -> float | None:
        """Seconds that the next output may take; None before the start and after the escalation."""
        return self._timeout_s if self.begun and not self._over else None

    def output(self, stdout: bytes, stderr: bytes) -> tuple[str, bytes]:
        """Take new output and return what the daemon shall do."""
        self.begun = True
        flags: set[str] = set()
        for source, data in (("stdout", stdout), ("stderr", stderr)):
            flags |= self._examine(source, data)
        if not self._asked_for_secret:
            if "prompt" in flags:
                self._asked_for_secret = True
                return "send", self._secret + b"\n"
            if "success" not in flags:
                return "wait", b""
        return self._judge(flags)

    @property
    def noise(self) -> tuple[bytes, bytes]:
        """What a login shell or sudo printed, which stock leaves in a command's output."""
        return self._noise["stdout"] + self._lines["stdout"], self._noise["stderr"] + self._lines["stderr"]

    def timed_out(self) -> Exception:
        """Return stock's error for a prompt that did not come: up to 2.18 it fails the task, not the host."""
        kind = AnsibleConnectionFailure if HAS_PROFILES else AnsibleError
        words = to_native(self._noise["stdout"])
        failure: Exception = kind(f"Timeout ({int(self._timeout_s)}s) waiting for privilege escalation prompt: {words}")
        return failure

    def _judge(self, flags: set[str]) -> tuple[str, bytes]:
        name = self._become.name
        if "success" in flags:
            self._show("Escalation succeeded")
            self._over = True
            return "proceed", b""
        if "incorrect" in flags or "prompt" in flags:
            # A prompt that comes again says that the first answer was wrong.
            self._show("Escalation failed")
            raise AnsibleError(f"Incorrect {name} password")
        if "missing" in flags and not self._secret:
            # Perhaps this rule of sudo's is for Ansible's command line, not for the agent's; stock finds out.
            raise NotStarted("the become plugin misses a password")
        if "missing" in flags:
            self._show("Escalation requires password")
            raise AnsibleError(f"Missing {name} password")
        return "wait", b""

    def _examine(self, source: str, data: bytes) -> set[str]:
        """Return what the new lines say; an unfinished line is looked at again with what follows."""
        flags: set[str] = set()
        become = self._become
        remainder = b""
        for line in (self._lines[source] + data).splitlines(True):
            finished = line.endswith(b"\n")
            if SSH_DEBUG.match(line):
                continue
            if become.expect_prompt() and become.check_password_prompt(line):
                flags.add("prompt")
                continue
            if become.success and become.check_success(line):
                flags.add("success")
                continue
            if become.check_incorrect_password(line):
                flags.add("incorrect")
            elif become.check_missing_password(line):
                flags.add("missing")
            if finished:
                self._noise[source] += line
            else:
                remainder = line
        self._lines[source] = remainder
        return flags


def become_secret(become: Any, play_context: Any) -> bytes:
    """Return the become password, empty if there is none."""
    if become is None:
        return b""
    secret = become.get_option("become_pass", playcontext=play_context)
    return to_bytes(secret or "", errors="surrogate_or_strict")  # type: ignore[no-any-return]
