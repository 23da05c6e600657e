"""Jobs that go on without their task: many at once, after the link, the daemon and the playbook."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_slipstream.ansible.polls import Polls
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

RUNS = {"started": True, "finished": False}
ENDED = {"finished": True}
FAILED = {"failed": True, "_ansible_parsed": True}
HALF_WRITTEN = {"failed": True, "_ansible_parsed": False}


@pytest.mark.parametrize(
    ("answers", "heard"),
    [
        ([RUNS, RUNS, RUNS, ENDED], [RUNS, RUNS, ENDED]),
        ([RUNS, RUNS, HALF_WRITTEN, RUNS, FAILED], [RUNS, RUNS, FAILED]),
        ([RUNS, RUNS, ENDED], [RUNS, RUNS, ENDED]),
        # What stock asks after the end is to clean up.
        ([RUNS, RUNS, ENDED, {"erased": "x"}], [RUNS, RUNS, ENDED, {"erased": "x"}]),
        ([RUNS, ENDED, {"erased": "x"}], [RUNS, ENDED, {"erased": "x"}]),
        # As often as the time of three of stock's polls allows, and no more.
        ([RUNS] * 6, [RUNS] * 3),
    ],
)
def test_last_poll_leaves_a_job_its_time(answers: list[Json], heard: list[Json]) -> None:
    """Three polls, 0.5 s apart."""
    left = list(answers)
    polls = Polls(1.5, 0.5)
    assert [polls.ask(lambda: left.pop(0)) for _ in heard] == heard
    assert left == []


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
