"""An agent by itself, whose daemon is the test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ansible_slipstream.agent import frames as untyped_frames

frames: Any = untyped_frames
AGENT = Path(untyped_frames.__file__).parent


class Agent:
    """A running agent. ``history`` and ``expected`` are what it begins with."""

    def __init__(self, interpreter: str, history: bytes = b"", expected: str = "") -> None:
        code = f"import sys; sys.path.insert(0, {str(AGENT.parent)!r}); from agent import loop; "
        code += f"loop.main(b'the program', {history!r}, {expected!r}, '')"
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([interpreter, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe)
        self._decoder = frames.Decoder()
        assert self._process.stdout
        assert self._process.stdout.read(len(frames.GREETING)) == frames.GREETING
        self.hello = self.read()

    def tell(self, control: Any, body: bytes = b"", stream: int = 0, flags: int = 0) -> None:
        """Send a message."""
        assert self._process.stdin
        text = json.dumps(control).encode()
        header = frames.HEADER.pack(len(text), len(body), frames.MESSAGE, frames.VERSION, flags, stream)
        self._process.stdin.write(header + text + body)
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
