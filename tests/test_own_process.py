"""What each of stock's workers has for itself, or from the playbook's process: lanes must not see the difference."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from kit.plays import Play
from kit.runner import MODES, Controller
from kit.sshd import Sshd

TWO = "lane1,lane2"
FILTERS = """\
import os, sys

def leaves(value):
    os.umask(0o027)
    os.environ['OWN'] = 'own'
    return value

def meanwhile(value):
    before = os.umask(0o077)
    os.environ['OTHERS'] = 'others'
    # Until another host's command writes to it.
    with open(value) as pipe:
        pipe.read()
    os.umask(before)
    del os.environ['OTHERS']
    return 'x'

class FilterModule:
    def filters(self):
        opener = lambda value: type(getattr(sys.modules.get('urllib.request'), '_opener', None)).__name__
        return {'leaves': leaves, 'meanwhile': meanwhile, 'opener': opener}
"""
CONNECTION = """\
DOCUMENTATION = "name: mine\\nshort_description: uses signals\\noptions: {}"
import signal
from ansible.plugins.connection import ConnectionBase

class Connection(ConnectionBase):
    transport = 'mine'
    has_pipelining = False

    def _connect(self):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        return 0, b'mine', b''

    def put_file(self, in_path, out_path): pass
    def fetch_file(self, in_path, out_path): pass
    def close(self): pass
"""
BECOME = """\
DOCUMENTATION = \"\"\"
name: own
short_description: uses signals
options:
  become_user: {description: who, default: root, vars: [{name: ansible_become_user}]}
\"\"\"
import signal
from ansible.plugins.become import BecomeBase

class BecomeModule(BecomeBase):
    name = 'own'

    def build_become_command(self, cmd, shell):
        super().build_become_command(cmd, shell)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return self._build_success_command(cmd, shell)
"""
VARS_PLUGIN = """\
DOCUMENTATION = "name: db\\nshort_description: a database\\ndescription: d\\noptions: {}"
import sqlite3
from ansible.plugins.vars import BaseVarsPlugin

CONNECTION = sqlite3.connect(':memory:')

class VarsModule(BaseVarsPlugin):
    def get_vars(self, loader, path, entities, cache=True):
        super().get_vars(loader, path, entities)
        return {'from_db': CONNECTION.execute('select 42').fetchone()[0]}
"""
CALLBACK = """\
DOCUMENTATION = "name: sets\\ntype: aggregate\\nshort_description: sets\\ndescription: d"
import os
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_NAME = 'sets'

    def v2_runner_item_on_ok(self, result):
        os.environ['FROM_CALLBACK'] = 'set'
"""


CHANGES_RESULTS = """\
DOCUMENTATION = "name: changes\\ntype: aggregate\\nshort_description: changes\\ndescription: d"
from ansible.plugins.callback import CallbackBase

def change(value):
    if isinstance(value, dict):
        for inner in list(value.values()):
            change(inner)
        value['changed_by'] = 'a callback'
    elif isinstance(value, list):
        for inner in value:
            change(inner)
        value.append('changed by a callback')

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_NAME = 'changes'

    def v2_runner_item_on_ok(self, result):
        change(result._result)
        change(result._task.args)

    v2_runner_on_ok = v2_runner_retry = v2_runner_item_on_ok
"""


@pytest.mark.parametrize("hosts", ["lane1", TWO])
def test_local_commands_have_umask_and_environment_of_their_task(play: Play, hosts: str) -> None:
    play.file("filter_plugins/f.py", FILTERS)
    tasks = """\
- {raw: "umask; echo [$OWN] {{ 'x' | leaves }}", connection: local, vars: {ansible_connection: local}}
- {raw: "umask; echo [$OWN]", connection: local, vars: {ansible_connection: local}}
"""
    run = play.compare(hosts, tasks, no_modules=True)
    said = [event.result["stdout"].split() for event in run.events if event.host == "lane1" and event.task]
    assert said == [["0027", "[own]", "x"], ["0022", "[]"]]


def test_local_commands_have_nothing_of_another_hosts_task(play: Play) -> None:
    """That host's filter waits for the command with a process that is not as the command's task left it."""
    play.file("filter_plugins/f.py", FILTERS)
    pipe = play.folder / "pipe"
    os.mkfifo(pipe)
    tasks = f"""\
- raw: "umask; echo [$OTHERS]; echo {{{{ '> {pipe}' if inventory_hostname == 'lane1' else pipe | meanwhile }}}}"
  # A variable: Jinja passes constants through filters when it compiles them, for every host.
  vars: {{ansible_connection: local, pipe: {pipe}}}
"""
    run = play.compare(TWO, tasks, no_modules=True)
    (said,) = (event.result["stdout"].split() for event in run.events if event.host == "lane1" and event.task)
    assert said == ["0022", "[]"]


def test_opener_of_the_lookup_url_ends_with_its_task(play: Play) -> None:
    play.file("filter_plugins/f.py", FILTERS)
    tasks = """\
- debug: {msg: "{{ lookup('url', 'file:///etc/hostname', validate_certs=false) is string }}"}
- debug: {msg: "{{ 'x' | opener }}"}
"""
    run = play.compare("lane1", tasks, no_modules=True)
    assert [event.result["msg"] for event in run.events if event.task] == [True, "NoneType"]


def test_delegated_task_with_a_connection_of_its_own(play: Play) -> None:
    play.file("connection_plugins/mine.py", CONNECTION)
    tasks = "- {raw: x, delegate_to: root, vars: {ansible_connection: mine}}\n"
    run = play.compare(TWO, tasks, no_modules=True)
    assert [event.result["stdout"] for event in run.events if event.task] == ["mine", "mine"]


def test_become_plugin_that_needs_the_main_thread(play: Play) -> None:
    play.file("become_plugins/own.py", BECOME)
    run = play.compare(TWO, "- {command: echo x, become: true, become_method: own}\n")
    assert [event.result["stdout"] for event in run.events if event.task] == ["x", "x"]


def test_vars_plugin_that_needs_the_main_thread(play: Play) -> None:
    play.file("vars_plugins/db.py", VARS_PLUGIN)
    tasks = "- debug: {msg: \"{{ hostvars['plain'].from_db }} {{ hostvars[ansible_play_hosts[0]].from_db }}\"}\n"
    run = play.compare(TWO, tasks, no_modules=True)
    assert [event.result["msg"] for event in run.events if event.task] == ["42 42", "42 42"]


@pytest.mark.parametrize("hosts", ["lane1", TWO])
def test_what_a_callback_does_to_the_process_stays(play: Play, hosts: str) -> None:
    tasks = """\
- {debug: {msg: "{{ item }}"}, loop: [1, 2]}
- {name: seen, debug: {msg: "{{ lookup('env', 'FROM_CALLBACK') }}"}}
"""
    play.file("callback_plugins/sets.py", CALLBACK)
    run = play.compare(hosts, tasks, no_modules=True)
    assert {event.result["msg"] for event in run.events if event.task == "seen"} == {"set"}


def test_what_a_callback_does_while_other_hosts_wait_stays(play: Play) -> None:
    once = CALLBACK.replace("v2_runner_item_on_ok", "v2_runner_on_ok").replace(
        "        os.environ",
        "        if result._host.name == 'lane1' and result._result.get('stdout') == 'first':\n            os.environ",
    )
    play.file("callback_plugins/sets.py", once)
    tasks = """\
- {shell: "{{ 'echo first' if inventory_hostname == 'lane1' else 'sleep 1' }}"}
- {name: seen, debug: {msg: "{{ lookup('env', 'FROM_CALLBACK') }}"}}
"""
    run = play.compare(TWO, tasks)
    assert {event.result["msg"] for event in run.events if event.task == "seen"} == {"set"}


@pytest.mark.parametrize("hosts", ["lane1", TWO])
def test_callback_changes_only_the_results_that_it_was_given(play: Play, hosts: str) -> None:
    """What a task goes on with, and what it registers, is what stock's worker has kept or sent."""
    play.file("callback_plugins/changes.py", CHANGES_RESULTS)
    tasks = """\
- {debug: {msg: {from: ["{{ item }}"]}}, loop: [{key: [1]}, {key: [2]}], register: looped}
- {shell: "echo {{ item }}", loop: [1, 2], register: commands, until: commands is success, retries: 2, delay: 0}
- {shell: "exit 3", register: retried, until: false, retries: 2, delay: 0, ignore_errors: true}
- {set_fact: {kept: {a: [1]}}}
- {name: seen, debug: {msg: ["{{ looped }}", "{{ commands.results }}", "{{ retried }}", "{{ kept }}"]}}
"""
    run = play.compare(hosts, tasks)
    assert sorted(event.host for event in run.events if event.task == "seen") == hosts.split(",")


def test_local_task_runs_in_the_namespaces_of_its_playbook(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    playbook = open_folder / "play.yml"
    playbook.write_text("[{hosts: localhost, gather_facts: false, tasks: [{command: readlink /proc/self/ns/net}]}]")
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            assert controller.run(playbook, deadline_seconds=60).rc == 0
            command = ["unshare", "--net", *controller.command(playbook, "-v")]
            run = subprocess.run(
                command, cwd=open_folder, env=controller.environment(), capture_output=True, text=True, timeout=60
            )
            mine = Path("/proc/self/ns/net").readlink()
            assert run.returncode == 0, run.stdout + run.stderr
            assert "net:[" in run.stdout and str(mine) not in run.stdout, mode
