"""Files that a transfer replaces: what they are besides their content stays as stock leaves it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_slipstream.agent import files
from kit.accounts import ALICE
from kit.runner import MODES, Controller
from kit.sshd import Sshd

MOVE = """\
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        there = self._task.args["path"]
        self._execute_module(module_name="ping", module_args={}, task_vars=task_vars)
        self._connection.put_file(self._task.args["source"], there)
        self._connection.fetch_file(there, self._task.args["back"])
        return {"changed": True}
"""


def with_another_group(path: Path) -> None:
    os.chown(path, 0, 4)
    path.chmod(0o640)


def with_an_access_list(path: Path) -> None:
    subprocess.run(["setfacl", "-m", "u:nobody:rw", str(path)], check=True)


def in_a_closed_folder(path: Path) -> None:
    account = pwd.getpwnam(ALICE.name)
    os.chown(path, account.pw_uid, account.pw_gid)
    os.chown(path.parent, 0, 0)
    path.parent.chmod(0o755)


def of_another_owner(path: Path) -> None:
    path.chmod(0o666)


def of_a_long_name(path: Path) -> None:
    """Nothing to add: the name leaves no room for a longer one beside it."""


@pytest.mark.parametrize(
    ("host", "name", "make"),
    [
        ("root", "file", with_another_group),
        ("root", "file", with_an_access_list),
        ("plain", "file", in_a_closed_folder),
        ("plain", "file", of_another_owner),
        ("root", "n" * 250, of_a_long_name),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_there_stays_what_it_is(
    venv: Path, sshd: Sshd, open_folder: Path, host: str, name: str, make: Callable[[Path], None]
) -> None:
    (open_folder / "action_plugins").mkdir()
    (open_folder / "action_plugins" / "move.py").write_text(MOVE)
    source, there = open_folder / "source", open_folder / "there" / name
    source.write_text("new content\n")
    back = open_folder / "back"
    looks = []
    for mode in MODES:
        shutil.rmtree(there.parent, ignore_errors=True)
        there.parent.mkdir()
        there.write_text("old content, which is longer\n")
        back.write_text("something else\n")
        make(there)
        os.chown(back, 0, 4)
        task = f"{{move: {{source: {source}, path: {there}, back: {back}}}}}"
        (open_folder / "play.yml").write_text(f"[{{hosts: {host}, gather_facts: false, tasks: [{task}]}}]")
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            other_ways = sshd.file_sessions()
            run = controller.run(open_folder / "play.yml", deadline_seconds=60)
            assert run.rc == 0, run.stdout + run.stderr
            assert mode == "stock" or sshd.file_sessions() == other_ways
        assert there.read_text() == back.read_text() == "new content\n"
        listed = subprocess.run(["getfacl", "-n", str(there), str(back)], capture_output=True, text=True, check=True)
        looks.append((listed.stdout, sorted(path.name for path in there.parent.iterdir())))
    assert looks[0] == looks[1]


def test_content_that_changed_on_its_way_is_refused(tmp_path: Path) -> None:
    incoming: Any = files.Incoming(os.fsencode(tmp_path / "file"), 0o600)  # type: ignore[no-untyped-call]
    incoming.write(b"not what was sent")
    with pytest.raises(OSError, match="its digest is another"):
        incoming.finish("0" * 64)
    incoming.abandon()
    assert list(tmp_path.iterdir()) == []
