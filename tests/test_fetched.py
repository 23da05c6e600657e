"""What is fetched, on the controller's side: what a file is besides its content stays as stock leaves it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.accounts import ALICE
from kit.runner import MODES, Controller
from kit.sshd import Sshd

NEW, OLD = "new content\n", "old content, which is longer\n"


def readable_only(here: Path) -> None:
    here.write_text(OLD)
    here.chmod(0o444)


def with_an_access_list(here: Path) -> None:
    here.write_text(OLD)
    subprocess.run(["setfacl", "-m", "u:nobody:rw", str(here)], check=True)


def with_an_attribute(here: Path) -> None:
    here.write_text(OLD)
    os.setxattr(here, "trusted.note", b"kept")


def of_another(here: Path) -> None:
    here.write_text(OLD)
    os.chown(here, pwd.getpwnam(ALICE.name).pw_uid, -1)
    here.chmod(0o600)


def set_uid(here: Path) -> None:
    here.write_text(OLD)
    here.chmod(0o4755)


def closed(here: Path) -> None:
    here.write_text(OLD)
    here.chmod(0o600)


def in_a_folder_of_a_group(here: Path) -> None:
    here.write_text(OLD)
    os.chown(here.parent, 0, 4)
    here.parent.chmod(0o2770)


def older_than_its_folders_list(here: Path) -> None:
    here.write_text(OLD)
    here.chmod(0o640)
    new_in_a_shared_folder(here)


def new_in_a_shared_folder(here: Path) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:nobody:rwx,g::rwx,o::---", str(here.parent)], check=True)


def new_under_a_umask(here: Path) -> None:
    """Nothing is there; the umask is the test's own."""


def a_link_to_nothing_yet(here: Path) -> None:
    here.symlink_to(here.parent / "where it leads")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def look(folder: Path) -> tuple[str, dict[str, object]]:
    """Return access lists, and what else there is, of everything in a folder."""
    command = ["getfacl", "-R", "-n", "--absolute-names", str(folder)]
    lists = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    more: dict[str, object] = {
        path.name: (path.is_symlink(), path.read_text(), oct(path.stat().st_mode), os.listxattr(path))
        for path in sorted(folder.iterdir())
    }
    return lists, more


def fetch(venv: Path, sshd: Sshd, folder: Path, mode: str, source: str, here: Path) -> tuple[int, str]:
    """Fetch with an agent there, and expect that nobody else moved the file."""
    playbook = folder / "play.yml"
    tasks = f"[{{ping: }}, {{fetch: {{src: {source}, dest: {here}, flat: true, validate_checksum: false}}}}]"
    playbook.write_text(f"[{{hosts: root, gather_facts: false, tasks: {tasks}}}]")
    with Controller(venv, mode, sshd, folder / "run") as controller:  # type: ignore[arg-type]
        others = sshd.file_sessions()
        run = controller.run(playbook, deadline_seconds=60)
        assert mode == "stock" or sshd.file_sessions() == others
    return run.rc, run.stdout + run.stderr


@pytest.mark.parametrize(
    "make",
    [
        readable_only,
        with_an_access_list,
        with_an_attribute,
        of_another,
        set_uid,
        closed,
        in_a_folder_of_a_group,
        older_than_its_folders_list,
        new_in_a_shared_folder,
        new_under_a_umask,
        a_link_to_nothing_yet,
    ],
    ids=lambda make: str(make.__name__),
)
@pytest.mark.parametrize("mode_there", [0o640, 0o466])
def test_fetched_file_is_what_stock_makes_of_it(
    venv: Path, sshd: Sshd, open_folder: Path, make: Callable[[Path], None], mode_there: int
) -> None:
    source, here = open_folder / "source", open_folder / "here" / "file"
    source.write_text(NEW)
    source.chmod(mode_there)
    looks = []
    for mode in MODES:
        shutil.rmtree(here.parent, ignore_errors=True)
        here.parent.mkdir()
        make(here)
        with umask(0o027):
            rc, said = fetch(venv, sshd, open_folder, mode, str(source), here)
        assert rc == 0, said
        assert here.read_text() == NEW
        looks.append(look(here.parent))
    assert looks[0] == looks[1]


def test_file_that_has_room_only_in_the_place_of_the_old_one(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    source, disk = open_folder / "source", open_folder / "disk"
    source.write_bytes(os.urandom(700_000))
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=True)
    try:
        for mode in MODES:
            (disk / "file").write_bytes(os.urandom(800_000))
            rc, said = fetch(venv, sshd, open_folder, mode, str(source), disk / "file")
            assert rc == 0, said
            assert (disk / "file").read_bytes() == source.read_bytes()
            assert [path.name for path in disk.iterdir()] == ["file"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_file_that_can_not_be_had_leaves_what_is_there(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Written in place, as it is another's, but only when something comes; stock empties it by its third method."""
    here = open_folder / "here" / "file"
    here.parent.mkdir()
    of_another(here)
    folder = open_folder / "action_plugins"
    folder.mkdir()
    (folder / "get.py").write_text(
        "from ansible.plugins.action import ActionBase\n"
        "class ActionModule(ActionBase):\n"
        "    def run(self, tmp=None, task_vars=None):\n"
        "        self._execute_module(module_name='ping', module_args={}, task_vars=task_vars)\n"
        "        self._connection.fetch_file(self._task.args['source'], self._task.args['here'])\n"
        "        return {}\n"
    )
    playbook = open_folder / "play.yml"
    task = f"get: {{source: {open_folder}/nowhere, here: {here}}}"
    playbook.write_text(f"[{{hosts: root, gather_facts: false, tasks: [{task}]}}]")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = controller.run(playbook, deadline_seconds=60)
    assert run.rc == 2, run.stdout + run.stderr
    assert here.read_text() == OLD
