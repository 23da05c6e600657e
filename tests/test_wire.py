"""The agent's codec against the frames that the Rust codec is held to as well."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_slipstream.agent import frames as untyped

frames: Any = untyped
GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parent / "wire" / "frames.json").read_text())


@pytest.mark.parametrize("entry", GOLDEN, ids=[entry["name"] for entry in GOLDEN])
@pytest.mark.parametrize("piece", [1, 5, 1000])
def test_golden_frame_is_read(entry: dict[str, Any], piece: int) -> None:
    wire = bytes.fromhex(entry["wire"])
    decoder = frames.Decoder()
    found = [frame for at in range(0, len(wire), piece) for frame in decoder.feed(wire[at : at + piece])]
    (frame,) = found
    assert (frame.control, frame.body.hex(), frame.flags, frame.stream) == (
        entry["control"],
        entry["body"],
        entry["flags"],
        entry["stream"],
    )


@pytest.mark.parametrize("entry", GOLDEN, ids=[entry["name"] for entry in GOLDEN])
def test_golden_frame_is_written(entry: dict[str, Any]) -> None:
    reader, writer = os.pipe()
    try:
        out = frames.Writer(writer)
        body = bytes.fromhex(entry["body"])
        if entry["control"] is None:
            out.data(entry["stream"], body, entry["flags"])
        else:
            out.message(entry["stream"], entry["control"], body)
        assert os.read(reader, 4096).hex() == entry["wire"]
    finally:
        os.close(reader)
        os.close(writer)


def test_unknown_version_and_kind_are_refused() -> None:
    for kind, version in ((1, 9), (9, 1)):
        with pytest.raises(frames.BadFrame):
            frames.Decoder().feed(frames.HEADER.pack(0, 0, kind, version, 0, 0))
