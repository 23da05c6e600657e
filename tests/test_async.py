"""Jobs that go on without their task: many at once, after the link, the daemon and the playbook."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from ansible_slipstream.ansible import polls
from ansible_slipstream.ansible.lanes import baton
from ansible_slipstream.ansible.local import LocalConnection
from ansible_slipstream.client import Json
from kit.runner import Controller
from kit.sshd import Sshd

JOBS = 20
PLAY = """\
- hosts: plain
  gather_facts: false
  vars: {{ansible_async_dir: "{folder}/jobs", ansible_remote_tmp: "{folder}/tmp"}}
  tasks:
"""
START = """\
    - name: fire
      shell: "cat {folder}/go; id -un; echo {{{{ item }}}}; exit {{{{ item % 2 }}}}"
      become: "{{{{ item == 1 }}}}"
      loop: "{{{{ range({jobs}) | list }}}}"
      async: 100
      poll: 0
      register: fired
    - meta: reset_connection
    - copy: {{content: "{{{{ fired.results | map(attribute='ansible_job_id') | to_json }}}}", dest: {folder}/ids}}
"""
COLLECT = """\
    - async_status: {{jid: "{{{{ item }}}}"}}
      loop: "{{{{ lookup('file', '{folder}/ids') | from_json }}}}"
      become: "{{{{ index == 1 }}}}"
      loop_control: {{index_var: index}}
      register: job
      until: job is finished
      retries: 60
      delay: 1
      ignore_errors: true
"""


class Lane:
    """What the baton asks of a lane."""

    left = False

    def __init__(self) -> None:
        self._baton = baton.Baton()

    @property
    def baton(self) -> baton.Baton:
        return self._baton

    def process_left(self) -> AbstractContextManager[None]:
        return nullcontext()

    def held(self, computed_s: float, blocked_s: float) -> None:
        pass


class Polled(LocalConnection):
    """A connection whose stock is known."""

    def __init__(self, pipelines: bool, objection: str | None) -> None:
        self.pipelines, self.objection, self.slipstream_polls = pipelines, objection, True

    def slipstream_would_pipeline(self) -> bool:
        return self.pipelines

    def slipstream_objection(self) -> str | None:
        return self.objection


@pytest.mark.parametrize(
    ("pipelines", "objection", "answer", "waits", "polls_on"),
    [
        (True, None, {"finished": False}, 0.2, True),
        (False, None, {"finished": False}, 0.4, True),
        # One that stock asks takes its time.
        (True, "stock's", {"finished": False}, 0.0, True),
        (True, None, {"failed": True, "_ansible_parsed": False}, 0.2, True),
        (True, None, {"failed": True, "_ansible_parsed": True}, 0.0, False),
        (True, None, {"finished": True}, 0.0, False),
    ],
)
def test_poll_takes_as_long_as_stocks(
    pipelines: bool, objection: str | None, answer: Json, waits: float, polls_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("ansible_slipstream.ansible.polls.time.monotonic", lambda: 0.0)
    monkeypatch.setattr("ansible_slipstream.ansible.polls.baton.pause", waited.append)
    connection = Polled(pipelines, objection)
    assert polls.paced(connection, lambda: answer) == answer
    assert (sum(waited), connection.slipstream_polls) == (waits, polls_on)


def test_pace_has_stocks_round_trips() -> None:
    """Seconds that stock's takes longer than ours, near, far, and where an answer takes long."""
    assert polls.PIPELINED.rest_s(0.02) == pytest.approx(0.26)
    assert polls.BY_FILES.rest_s(0.2) == pytest.approx(1.8)
    assert polls.BY_FILES.rest_s(30) == polls.LONGEST_S


def test_poll_that_takes_its_time_holds_no_other_host_up() -> None:
    lane, ended = Lane(), threading.Event()

    def poll() -> None:
        with baton.running(lane):
            polls.paced(Polled(pipelines=True, objection=None), lambda: {"finished": False})
        ended.set()

    lane.baton.start(poll)
    assert not ended.is_set()
    with lane.baton.lent():
        assert ended.wait(20)


def test_jobs_outlive_link_daemon_and_playbook(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Each job waits for a word that comes when everything that has started it is gone."""
    shared = open_folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    go = shared / "go"
    os.mkfifo(go)
    go.chmod(0o666)
    plays = []
    for name, tasks in (("start", START), ("collect", COLLECT)):
        plays.append(open_folder / f"{name}.yml")
        plays[-1].write_text((PLAY + tasks).format(folder=shared, jobs=JOBS))
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = controller.run(plays[0], deadline_seconds=120)
        assert run.rc == 0, run.stdout + run.stderr
        assert controller.tool("stop").returncode == 0
        sshd.cut_sessions()
        # Whoever opens it now lets all go who wait for it, and nobody has to wait any more.
        writer = os.open(go, os.O_RDWR)
        go.unlink()
        go.write_text("")
        os.close(writer)
        run = controller.run(plays[1], deadline_seconds=120)
    ended = [event.result for event in run.events if event.kind.startswith("item")]
    assert [result["rc"] for result in ended] == [number % 2 for number in range(JOBS)], run.stdout + run.stderr
    said = [result["stdout_lines"] for result in ended]
    assert said == [["root" if number == 1 else "slip-alice", str(number)] for number in range(JOBS)]
