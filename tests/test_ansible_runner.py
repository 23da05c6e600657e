"""Playbooks that ansible-runner starts, as automation platforms do: its events are those of stock."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from kit import processes
from kit.compare import value_differences
from kit.masks import mask
from kit.runner import MODES, Controller
from kit.sshd import Sshd
from kit.versions import core

RUNNER = Path(sys.prefix) / "bin" / "ansible-runner"
PLAY = """\
- hosts: plain,sudo_password,refused
  ignore_unreachable: true
  gather_subset: [min]
  serial: 1
  tasks:
    - {name: command, command: id -un, register: who}
    - {name: shown, debug: {var: who.stdout}}
    - {name: become, command: id -un, become: true}
    - {name: copy, copy: {content: "{{ who.stdout }}", dest: "{{ work }}/who"}, diff: true}
    - {name: secret, command: echo s3cr3t, no_log: true}
    - {name: loop, command: "echo {{ item }}", loop: [1, 2], loop_control: {label: "number {{ item }}"}}
    - {name: skipped, command: id, when: false}
    - {name: fails, command: "false", ignore_errors: true}
    - {name: warns, debug: {msg: "{{ lookup('pipe', 'echo from a lookup') }}"}}
    - {name: job, command: id -un, async: 20, poll: 1}
    - {name: elsewhere, command: hostname, delegate_to: localhost}
    - {name: notifies, command: id, notify: told}
    - name: block
      block: [{name: fails in a block, shell: "echo no >&2; exit 3"}]
      rescue: [{name: rescued, ping: {}}]
  handlers: [{name: told, command: echo told}]
- hosts: plain
  gather_facts: false
  tasks: [{name: last, shell: exit 4}]
"""
# Of the run, not of what happened in it.
OWN = {"uuid", "parent_uuid", "pid", "created", "counter", "runner_ident", "start_line", "end_line"}
OWN_DATA = {"uuid", "playbook_uuid", "play_uuid", "task_uuid", "host_uuid", "duration", "start", "end"}


def events_of(artifacts: Path) -> list[dict[str, Any]]:
    """Return what ansible-runner has recorded, in order and without what is another at each run."""
    found = [json.loads(path.read_text()) for path in (artifacts / "job_events").glob("*.json")]
    kept = []
    for event in sorted(found, key=lambda event: event["counter"]):
        if event["event"] == "runner_on_async_poll":
            # As many as the job is slow.
            continue
        data = {name: value for name, value in event.get("event_data", {}).items() if name not in OWN_DATA}
        kept.append(mask({name: value for name, value in event.items() if name not in OWN} | {"event_data": data}))
    return kept


def test_its_events_are_the_same(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    project = open_folder / "private" / "project"
    project.mkdir(parents=True)
    (project / "play.yml").write_text(PLAY)
    seen = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            controller.variables["PATH"] = f"{venv}/bin:{controller.environment()['PATH']}"
            options = ["run", "--playbook", "play.yml", "--ident", "it", "--quiet"]
            # Up to 2.18 that is for ssh, too, which then has more to say of connections.
            options += ["-v"] * (core(venv) >= (2, 19))
            process = controller.start(project.parent, *options, program=str(RUNNER))
            try:
                stdout, stderr = process.communicate(timeout=120)
            finally:
                processes.end(process.pid)
            assert process.returncode == 2, stdout + stderr
            if mode == "slipstream":
                assert controller.status()["tickets"] > 20
        artifacts = project.parent / "artifacts" / "it"
        seen.append(events_of(artifacts))
        artifacts.rename(artifacts.with_name(mode))
    stock, ours = seen
    assert {"runner_on_unreachable", "runner_on_failed", "runner_item_on_ok"} <= {event["event"] for event in stock}
    found = list(value_differences(stock, ours))
    assert not found, found
