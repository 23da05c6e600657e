"""The agent's codec against the frames and name lists that the Rust side is held to as well."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from ansible_slipstream.agent import frames as untyped_frames
from ansible_slipstream.agent import importer as untyped_importer

frames: Any = untyped_frames
importer: Any = untyped_importer
FOLDER = Path(__file__).parent / "wire"
GOLDEN: list[dict[str, Any]] = json.loads((FOLDER / "frames.json").read_text())
NAMES: list[dict[str, Any]] = json.loads((FOLDER / "names.json").read_text())
# Bytes that Mitogen's lists of as many names take: 52 modules, 68 of module_utils.
NAMES_MAX = {"modules": 406, "module_utils": 474}


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


@pytest.mark.parametrize("entry", NAMES, ids=[entry["name"] for entry in NAMES])
def test_golden_name_list_is_unpacked_and_small(entry: dict[str, Any]) -> None:
    assert importer.unpack_names(entry["packed"]) == entry["paths"]
    # Lists travel in bundles, which are deflated.
    assert len(zlib.compress(entry["packed"].encode(), 9)) <= NAMES_MAX.get(entry["name"], 100)
