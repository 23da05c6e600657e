"""The four ways to deflate: what goes over the wire, how it is chosen, and what is kept apart."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_slipstream.agent import frames as untyped
from kit.relay import Relay
from kit.runner import Controller, Run
from kit.sshd import Sshd

frames: Any = untyped
MEGABYTE = 1 << 20


def play(controller: Controller, folder: Path, tasks: str, *options: str) -> Run:
    playbook = folder / "play.yml"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{tasks}]}}]")
    return controller.run(playbook, *options)


@pytest.mark.parametrize("by", ["environment", "ansible.cfg", "variable"])
def test_off_sends_everything_as_it_is(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    options = ["-e", "ansible_slipstream_compression={{ 'of' ~ 'f' }}"] if by == "variable" else []
    sent = []
    for compression in ("auto", "off"):
        with Controller(venv, "slipstream", sshd, open_folder / "run") as controller, Relay(sshd.port) as relay:
            relay.make_known(open_folder / "run" / "known_hosts")
            if compression == "off" and by == "environment":
                monkeypatch.setenv("SLIPSTREAM_COMPRESSION", "off")
            if compression == "off" and by == "ansible.cfg":
                config = open_folder / "run" / "ansible.cfg"
                config.write_text(config.read_text() + "[slipstream]\ncompression = off\n")
            port = ["-e", f"ansible_port={relay.port}"]
            run = play(
                controller, open_folder, "{command: hostname}", *port, *(options if compression == "off" else [])
            )
            assert run.rc == 0, run.stdout + run.stderr
            assert controller.status()["tickets"] == 1
            sent.append(relay.counts.up)
    auto, off = sent
    assert auto < 90_000 and off > 3 * auto


def test_a_value_that_makes_no_sense_is_said_for_its_host(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = play(controller, open_folder, "{ping: }", "-e", "ansible_slipstream_compression=gzip")
    said = run.stdout + run.stderr
    assert run.rc != 0 and "plain" in said
    assert "slipstream_compression" in said and "off, fast, best, auto" in said.replace("'", "")


@pytest.mark.parametrize("module", ["copy", "fetch"])
@pytest.mark.parametrize(("content", "share"), [("lines", 0.1), ("base64", 0.95)])
def test_auto_deflates_files_on_a_slow_link(
    venv: Path, sshd: Sshd, open_folder: Path, module: str, content: str, share: float
) -> None:
    size = 16 * MEGABYTE
    source = open_folder / "source"
    text = b"a line that is like the others\n" * (size // 31)
    # Shrinks to three quarters, which pays only where the link is slow. The first windows are the measure.
    source.write_bytes(text if content == "lines" else base64.b64encode(os.urandom(size * 3 // 4)))
    there = {"copy": f"{open_folder}/run/work/there", "fetch": f"{open_folder}/back"}[module]
    flat = ", flat: true" if module == "fetch" else ""
    with (
        Controller(venv, "slipstream", sshd, open_folder / "run") as controller,
        Relay(sshd.port, rate=8 * MEGABYTE) as relay,
    ):
        relay.make_known(open_folder / "run" / "known_hosts")
        task = f"{{{module}: {{src: {source}, dest: {there}{flat}}}}}"
        run = play(controller, open_folder, task, "-e", f"ansible_port={relay.port}")
        assert run.rc == 0, run.stdout + run.stderr
        assert Path(there).read_bytes() == source.read_bytes()
        went = relay.counts.up if module == "copy" else relay.counts.down
        assert went < size * share


def test_what_is_secret_shares_no_stream() -> None:
    reader, writer = os.pipe()
    out, decoder = frames.Writer(writer), frames.Decoder()
    out.compress(6)
    sizes, answers = [], []
    for flags in (0, 0, frames.ALONE, frames.ALONE):
        out.message(7, {"op": "exit", "rc": 0, "out": 40}, b"a result, a result, a result, a result!!", flags)
        wire = os.read(reader, 65536)
        sizes.append(len(wire))
        answers += [(frame.stream, frame.control, frame.body) for frame in decoder.feed(wire)]
    os.close(reader)
    os.close(writer)
    assert len(answers) == 4 and len(set(map(repr, answers))) == 1
    assert sizes[1] < sizes[0] / 2 and sizes[2] == sizes[3] > sizes[0]


def test_task_without_log_shares_no_stream(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Count what a repeated task adds: nearly nothing, unless it is secret."""
    added = []
    for no_log in ("false", "true"):
        task = f"{{command: 'echo {'word ' * 200}', no_log: {no_log}}}"
        with Controller(venv, "slipstream", sshd, open_folder / "run") as controller, Relay(sshd.port) as relay:
            relay.make_known(open_folder / "run" / "known_hosts")
            counts = []
            for tasks in (task, f"{task}, {task}, {task}, {task}"):
                before = relay.counts.up + relay.counts.down
                run = play(controller, open_folder, tasks, "-e", f"ansible_port={relay.port}")
                assert run.rc == 0, run.stdout + run.stderr
                counts.append(relay.counts.up + relay.counts.down - before)
            run_again = play(controller, open_folder, task, "-e", f"ansible_port={relay.port}")
            assert run_again.rc == 0
            once = relay.counts.up + relay.counts.down - sum(counts)
            added.append((counts[1] - once) / 3)
    shared, alone = added
    assert shared < 500 and alone > 2000, added
