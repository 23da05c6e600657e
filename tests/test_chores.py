"""What stock starts a shell for around a module is done by an agent of the login account, with stock's results."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.accounts import ALICE
from kit.agent import Agent, frames
from kit.plays import Play
from kit.runner import MODES, Controller
from kit.sshd import Sshd

NOBODY = 65534
# Actions of third parties that run stock's copy: one has a file in a folder of its own meanwhile, the other looks into
# the copy's folder afterwards.
RUNS_COPY = """\
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        shell = self._connection._shell
        {before}
        copy = action_loader.get(
            'ansible.legacy.copy', task=self._task, connection=self._connection, play_context=self._play_context,
            loader=self._loader, templar=self._templar, shared_loader_obj=self._shared_loader_obj,
        )
        result = copy.run(task_vars=task_vars)
        result['seen'] = self._low_level_execute_command({look})['stdout']
        {after}
        return result
"""
OWN_FILE = "self._make_tmp_path(); mine = self._transfer_data(shell.join_path(shell.tmpdir, 'mine'), 'still there')"
KEEPS = RUNS_COPY.format(before=OWN_FILE, look="f'cat {mine}'", after="self._remove_tmp_path(shell.tmpdir)")
LOOKS = RUNS_COPY.format(before="", look="f'ls -A {shell.tmpdir}'", after="copy.cleanup()")
LEFT = """\
- name: left
  shell: find {{ work }}/.. ~slip-alice/.ansible -name 'ansible-tmp-*' -o -name big
"""


@pytest.fixture
def agent(interpreter: str) -> Iterator[Agent]:
    """A running agent of this account."""
    running = Agent(interpreter)
    yield running
    assert running.end() == b""


def do(agent: Agent, *chores: dict[str, Any], content: bytes = b"", flags: int = 0) -> tuple[int, str, str]:
    """Return how many chores were done, what the last said, and why the next was not."""
    agent.tell({"op": "chores", "chores": chores}, content, stream=1, flags=flags)
    answer = agent.read()
    assert answer["op"] == "chores"
    return answer["done"], answer["said"], answer["why"]


def test_folder_is_made_used_and_removed(agent: Agent, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "base" / "name"
    make = {"do": "make_folder", "base": str(folder.parent), "name": "name"}
    assert do(agent, make) == (1, "", "")
    for made in (folder, folder.parent, folder.parent.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    first, second = folder / "first", folder / "s\u00e9cond"
    write = [{"do": "write", "path": str(path), "mode": 0o640, "size": 3} for path in (first, second)]
    allow = {"do": "allow", "paths": [f"{folder}/", str(first)], "mode": 0o700}
    assert do(agent, *write, allow, content=b"onetwo") == (3, "", "")
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (first, second)] == [0o740, 0o640]
    assert do(agent, write[0], content=zlib.compress(b"new"), flags=frames.PACKED) == (1, "", "")
    assert first.read_bytes() == b"new"
    # The agent's own mask is as it was.
    assert do(agent, {"do": "write", "path": str(tmp_path / "other"), "mode": 0o666, "size": 0}) == (1, "", "")
    os.umask(umask := os.umask(0))
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o666 & ~umask
    (folder / "inner").mkdir()
    (folder / "inner" / "link").symlink_to(tmp_path)
    removed = do(agent, {"do": "remove", "path": str(folder)})
    if agent.hello["python"].startswith("2."):
        # It can't without following links that others may make meanwhile.
        assert removed == (0, "", "links could be followed")
        return
    assert removed == (1, "", "")
    assert not folder.exists() and tmp_path.exists()


def test_home_is_the_accounts(agent: Agent) -> None:
    assert do(agent, {"do": "home", "user": "root"}) == (1, "/root", "")
    done, _, why = do(agent, {"do": "home", "user": "no-such-user"})
    assert done == 0 and "no-such-user" in why
    # Who has no other word than the environment's for it is root here, too.
    assert do(agent, {"do": "home", "user": ""}) == (1, "/root", "")


def test_folder_in_a_home_that_has_moved_is_not_made(agent: Agent, tmp_path: Path) -> None:
    make = {"do": "make_folder", "base": str(tmp_path / "base"), "name": "name"}
    done, _, why = do(agent, {**make, "home": {"user": "root", "path": "/home/root"}})
    assert done == 0 and "another home" in why and not (tmp_path / "base").exists()
    assert do(agent, {**make, "home": {"user": "root", "path": "/root"}}) == (1, "", "")


def test_what_a_shell_has_to_try_is_left(agent: Agent, tmp_path: Path) -> None:
    make = {"do": "make_folder", "base": str(tmp_path), "name": "name"}
    # Who could not say that it has made it may be asked again.
    assert do(agent, make)[0] == do(agent, make)[0] == 1
    (tmp_path / "name" / "file").touch()
    done, _, why = do(agent, make)
    assert done == 0 and "exists" in why
    missing = str(tmp_path / "missing" / "file")
    write = {"do": "write", "path": missing, "mode": 0o600, "size": 1}
    allow = {"do": "allow", "paths": [missing], "mode": 0o700}
    # What comes after the first that fails is left, too.
    assert do(agent, {"do": "home", "user": "root"}, write, allow, content=b"x")[0] == 1
    assert do(agent, allow)[0] == 0
    assert do(agent, {"do": "something else"})[0] == 0


def test_run_does_not_begin_before_what_comes_first(agent: Agent, tmp_path: Path) -> None:
    write = {"do": "write", "path": str(tmp_path / "written"), "mode": 0o600, "size": 1}
    first = {"op": "chores", "chores": [write], "first": True}
    run = {"op": "run", "closure": "not sent", "job": {}}
    agent.tell(first, b"x", stream=1)
    agent.tell(run, stream=1)
    # The answer is the run's.
    assert agent.read() == {"op": "stale", "what": "a closure is damaged", "damaged": False}
    assert (tmp_path / "written").read_bytes() == b"x"
    agent.tell({**first, "chores": [{**write, "path": str(tmp_path / "missing" / "file")}]}, b"x", stream=2)
    agent.tell(run, stream=2)
    answer = agent.read()
    assert answer["op"] == "chores" and answer["done"] == 0 and answer["why"]
    # Nothing else was said on that stream.
    assert do(agent, write, content=b"y") == (1, "", "")


@pytest.mark.parametrize("why", ["others may write", "another account's", "a link", "a file"])
def test_only_a_folder_of_ones_own_is_removed(agent: Agent, tmp_path: Path, why: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "kept").touch()
    path = place
    if why == "others may write":
        place.chmod(0o770)
    elif why == "another account's":
        os.chown(place, NOBODY, NOBODY)
    elif why == "a link":
        path = tmp_path / "link"
        path.symlink_to(place)
    else:
        path = place / "kept"
    assert do(agent, {"do": "remove", "path": str(path)})[0] == 0
    assert (place / "kept").exists()


def run_tasks(controller: Controller, folder: Path, host: str, tasks: str, *options: str) -> Any:
    playbook = folder / "play.yml"
    playbook.write_text(f"[{{hosts: {host}, gather_facts: false, tasks: [{tasks}]}}]")
    return controller.run(playbook, *options)


@pytest.mark.parametrize("host", ["plain", "sudo"])
def test_copy_in_a_loop_takes_no_sessions(venv: Path, sshd: Sshd, open_folder: Path, host: str) -> None:
    place = open_folder / "place"
    place.mkdir()
    place.chmod(0o777)
    copy = f"{{copy: {{content: '{{{{ item }}}}', dest: '{place}/{{{{ item }}}}'}}, loop: [%s]}}"
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        assert run_tasks(controller, open_folder, host, copy % "1").rc == 0
        before = sshd.sessions()
        assert run_tasks(controller, open_folder, host, copy % "2, 3, 4").rc == 0
        # An agent that a become plugin started ends with its play; the login account's stays.
        assert sshd.sessions() - before == {"plain": 0, "sudo": 1}[host]
    assert {path.read_text() for path in place.iterdir()} == {"1", "2", "3", "4"}
    assert not list(Path(f"~{ALICE.name}").expanduser().glob(".ansible/tmp/*"))


@pytest.mark.parametrize(
    ("action", "arguments", "seen"), [(KEEPS, "", "still there"), (LOOKS, "validate: 'false %s'", "source")]
)
def test_folder_that_somebody_may_use_stays(play: Play, action: str, arguments: str, seen: str) -> None:
    """Another action's while stock's copy runs, and that of a copy that has failed."""
    play.file("action_plugins/runs_copy.py", action)
    task = f"""- runs_copy: {{content: x, dest: "{{{{ work }}}}/second", {arguments}}}\n  ignore_errors: true\n"""
    first = """- copy: {content: first, dest: "{{ work }}/first"}\n"""
    run = play.compare("plain", first + task * 2 + first + LEFT)
    # From 2.17 on a source's name begins with a dot.
    found = [event.result["seen"].strip().removeprefix(".") for event in run.events if "seen" in event.result]
    assert found == [seen] * 2
    assert [event.result["stdout"] for event in run.events if event.task == "left"] == [""], run.stdout


def test_copies_in_trouble_end_as_under_stock(play: Play) -> None:
    """Nothing stays of them, whenever they end; a home is known by then."""
    play.file("big", "x" * 200_000)
    slow = "validate: \"sh -c 'sleep 30 #%s'\""
    tasks = f"""\
- copy: {{content: first, dest: "{{{{ work }}}}/first"}}
- copy: {{content: x, dest: "{{{{ work }}}}/slow", {slow}}}
  timeout: 2
  diff: true
  ignore_errors: true
- copy: {{src: "{{{{ playbook_dir }}}}/big", dest: "{{{{ work }}}}/failing", validate: "false %s"}}
  diff: true
  ignore_errors: true
- copy: {{src: "{{{{ playbook_dir }}}}/big", dest: "{{{{ work }}}}/large", backup: true}}
  loop: [1, 2]
- meta: reset_connection
- copy: {{content: unpiped, dest: "{{{{ work }}}}/unpiped"}}
  vars: {{ansible_pipelining: false}}
- copy: {{content: unpiped, dest: "{{{{ work }}}}/unpiped too", mode: "0600"}}
  vars: {{ansible_pipelining: false}}
  become: true
- copy: {{content: "{{{{ item }}}}", dest: "{{{{ work }}}}/large", mode: "0600"}}
  loop: [1, 1, 2]
  diff: true
- assemble: {{src: "{{{{ playbook_dir }}}}/action_plugins", dest: "{{{{ work }}}}/assembled", remote_src: false}}
"""
    play.file("action_plugins/part", "part\n")
    run = play.compare("plain", tasks + LEFT)
    assert [event.result["stdout"] for event in run.events if event.task == "left"] == [""], run.stdout


@pytest.mark.parametrize("trouble", ["not writable", "a file in the way"])
def test_trouble_with_the_temporary_folder_reads_as_under_stock(
    venv: Path, sshd: Sshd, open_folder: Path, trouble: str
) -> None:
    remote = open_folder / "remote"
    if trouble == "a file in the way":
        remote.touch()
    else:
        remote.mkdir(mode=0o700)
    said = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / mode) as controller:
            tasks = f"{{ping: }}, {{copy: {{content: x, dest: '{open_folder}/never'}}}}"
            result = run_tasks(controller, open_folder, "plain", tasks, "-e", f"ansible_remote_tmp={remote}")
        assert result.rc != 0
        lines = [line for line in result.stdout.splitlines() if "msg" in line]
        said.append([line.split("ansible-tmp-")[0] for line in lines])
    assert said[0] == said[1] and said[0]
