"""Files: whole or not at all, with stock's modes, in any size."""

from __future__ import annotations

import hashlib
import os
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.relay import Relay
from kit.runner import MODES, Controller, Run
from kit.running import written_file
from kit.sshd import Sshd

GIGABYTE = 1 << 30
PART = ".slipstream-part"


def play(controller: Controller, folder: Path, tasks: str, host: str = "plain") -> Run:
    playbook = folder / "files.yml"
    header = f"- hosts: {host}\n  gather_facts: false\n  tasks:\n"
    playbook.write_text(header + textwrap.indent(textwrap.dedent(tasks), "    "))
    return controller.run(playbook, deadline_seconds=240)


def digest(path: Path) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            content.update(chunk)
    return content.hexdigest()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of one megabyte that everybody may write to."""
    mount = folder / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "none", str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize(
    ("size", "compression"),
    [
        (0, "auto"),
        (1, "off"),
        (1, "best"),
        (3_000_000, "auto"),
        (5_000_000, "off"),
        (5_000_000, "fast"),
        (5_000_000, "best"),
        (GIGABYTE, "auto"),
    ],
    ids=lambda value: str(value),
)
def test_file_goes_and_comes_back_whole(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch, size: int, compression: str
) -> None:
    monkeypatch.setenv("SLIPSTREAM_COMPRESSION", compression)
    source = open_folder / "source"
    with source.open("wb") as file:
        # Every megabyte is another: one that is lost, doubled or moved shows.
        for at in range(0, size, 1 << 20):
            file.write(hashlib.sha256(str(at).encode()).digest() * (1 << 15))
        file.truncate(size)
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        tasks = f"""
            - copy: {{src: {source}, dest: "{controller.work}/there"}}
            - fetch: {{src: "{controller.work}/there", dest: {open_folder}/back, flat: true, validate_checksum: false}}
        """
        run = play(controller, open_folder, tasks)
        assert run.rc == 0, run.stdout + run.stderr
        link = controller.status()["links"][0]
    back = open_folder / "back"
    assert back.stat().st_size == size and digest(back) == digest(source)
    for went in (link["bytes_up"], link["bytes_down"]):
        if compression == "off":
            assert went >= size
        if compression in ("fast", "best"):
            # Closures and results come on top.
            assert went < size / 10 + 500_000


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o444])
def test_modes_are_as_stock_leaves_them(venv: Path, sshd: Sshd, open_folder: Path, mode: int) -> None:
    """Compare the file that put_file leaves, and the one that fetch_file leaves, with stock's."""
    source = open_folder / "source"
    source.write_text("content\n")
    source.chmod(mode)
    probe = open_folder / "action_plugins"
    probe.mkdir()
    (probe / "move.py").write_text(
        textwrap.dedent(
            """
            from ansible.plugins.action import ActionBase
            class ActionModule(ActionBase):
                def run(self, tmp=None, task_vars=None):
                    a = self._task.args
                    self._execute_module(module_name="ping", module_args={}, task_vars=task_vars)
                    self._connection.put_file(a["source"], a["there"])
                    self._connection.put_file(a["source"], a["existing"])
                    self._connection.fetch_file(a["there"], a["back"])
                    return {"changed": True}
            """
        )
    )
    seen = []
    for kind in MODES:
        back = open_folder / f"back-{kind}"
        with Controller(venv, kind, sshd, open_folder / "run") as controller:
            there = controller.work / "there"
            tasks = f"""
                - copy: {{content: old, dest: "{controller.work}/old", mode: "0640"}}
                - file: {{src: "{controller.work}/old", path: "{controller.work}/existing", state: link}}
                - move: {{source: {source}, there: {there}, existing: "{controller.work}/existing", back: {back}}}
            """
            other_ways = sshd.file_sessions()
            run = play(controller, open_folder, tasks)
            assert run.rc == 0, run.stdout + run.stderr
            assert kind == "stock" or sshd.file_sessions() == other_ways
            existing = controller.work / "existing"
            looks = [there.stat(), existing.stat(), back.stat()]
            assert existing.is_symlink()
            names = sorted(path.name for path in controller.work.iterdir())
            seen.append(([(oct(s.st_mode), s.st_uid, s.st_gid, s.st_size) for s in looks], names))
    assert seen[0] == seen[1]


# A small file goes with the module that needs it, and its trouble is told all the same.
@pytest.mark.parametrize(("size", "taken"), [(3_000_000, 0), (60_000, 1_000_000)])
@pytest.mark.parametrize("host", ["plain", "sudo"])
def test_full_disk_leaves_nothing_and_says_so(
    venv: Path, sshd: Sshd, open_folder: Path, size: int, taken: int, host: str
) -> None:
    source = open_folder / "source"
    source.write_bytes(os.urandom(size))
    with small_disk(open_folder) as disk, Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        tasks = f"""
            - ping:
            - copy: {{src: {source}, dest: {disk}/there}}
              vars: {{ansible_remote_tmp: {disk}/tmp}}
        """
        (disk / "taken").write_bytes(bytes(taken))
        run = play(controller, open_folder, tasks, host)
        said = run.stdout + run.stderr
        assert run.rc == 2, f"{said}{controller.status()}"
        assert "No space left on device" in said and f"failed to transfer file to {source} {disk}/tmp/" in said
        assert [path.name for path in disk.rglob("*") if path.is_file()] == ["taken"]


def test_full_disk_here_leaves_nothing_and_says_so(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    source = open_folder / "source"
    source.write_bytes(os.urandom(3_000_000))
    source.chmod(0o644)
    with small_disk(open_folder) as disk, Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = play(controller, open_folder, f"- fetch: {{src: {source}, dest: {disk}/here, flat: true}}")
        assert run.rc == 2
        assert "No space left on device" in run.stdout + run.stderr
        assert list(disk.iterdir()) == []


def test_denied_permission_is_told_with_path_and_reason(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    source = open_folder / "source"
    source.write_text("x")
    probe = open_folder / "action_plugins"
    probe.mkdir()
    (probe / "move.py").write_text(
        "from ansible.plugins.action import ActionBase\n"
        "class ActionModule(ActionBase):\n"
        "    def run(self, tmp=None, task_vars=None):\n"
        "        self._execute_module(module_name='ping', module_args={}, task_vars=task_vars)\n"
        "        self._connection.put_file(self._task.args['source'], '/root/no')\n"
    )
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = play(controller, open_folder, f"- move: {{source: {source}}}")
    assert run.rc == 2
    said = run.stdout + run.stderr
    assert "failed to transfer file to" in said and "/root/no" in said and "Permission denied" in said


MOVE = """\
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        self._execute_module(module_name='ping', module_args={}, task_vars=task_vars)
        getattr(self._connection, self._task.args['way'])(self._task.args['source'], self._task.args['to'])
        return {}
"""


@pytest.mark.parametrize("way", ["put_file", "fetch_file"])
@pytest.mark.parametrize("for_good", [True, False])
def test_link_cut_half_way(venv: Path, sshd: Sshd, open_folder: Path, way: str, for_good: bool) -> None:
    """Where there is a way again it is tried again; where there is none, there is no file."""
    folder = open_folder / "action_plugins"
    folder.mkdir()
    (folder / "move.py").write_text(MOVE)
    source, target = open_folder / "source", open_folder / "target"
    source.write_bytes(os.urandom(6_000_000))
    target.mkdir()
    target.chmod(0o777)
    task = f"move: {{way: {way}, source: {source}, to: {target}/file}}"
    playbook = open_folder / "files.yml"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{task}]}}]")
    for mode in MODES if not for_good else ("slipstream",):
        with (
            Controller(venv, mode, sshd, open_folder / "run") as controller,
            Relay(sshd.port, rate=2_000_000) as relay,
            written_file(target) as begun,
        ):
            relay.make_known(open_folder / "run" / "known_hosts")
            process = controller.start(playbook, "-e", f"ansible_port={relay.port}")
            begun()
            relay.cut(for_good)
            stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == (4 if for_good else 0), stdout + stderr
        assert ("UNREACHABLE!" in stdout) == for_good
        left = list(target.iterdir())
        assert [digest(path) for path in left] == ([] if for_good else [digest(source)])
        for path in left:
            path.unlink()
