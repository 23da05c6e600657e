"""Writes frames.json, the frames that both codecs must read and write alike. Run by hand, rarely:
a change here is a change of the wire format, and raises its version."""

from __future__ import annotations

import json
import struct
from pathlib import Path

FRAMES: list[tuple[str, object, bytes, int, int]] = [
    ("empty message", {"op": "done"}, b"", 0, 0),
    ("message with a body", {"op": "run", "closure": "ab" * 32, "job": {"name": "ping", "env": {}}}, b"{}", 0, 7),
    ("text beyond ASCII", {"op": "put", "path": "/tmp/\u00e4\u2603", "mode": 420, "size": 3}, b"", 0, 4294967295),
    ("output", None, b"\x00\xffhello\n", 0, 1),
    ("error output", None, b"oops\n", 1, 2),
    ("empty data", None, b"", 0, 3),
]


def main() -> None:
    """Write the file beside this one."""
    entries = []
    for name, control, body, flags, stream in FRAMES:
        text = b"" if control is None else json.dumps(control).encode()
        header = struct.pack(">IIBBHI", len(text), len(body), 2 if control is None else 1, 1, flags, stream)
        entry = {"name": name, "control": control, "body": body.hex(), "flags": flags, "stream": stream}
        entries.append({**entry, "wire": (header + text + body).hex()})
    Path(__file__).with_name("frames.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
