"""Plugins that come, change or warn while a play runs: each task finds what stock's worker would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit.plays import Play
from kit.sshd import Sshd

FILTER = "class FilterModule:\n    def filters(self): return {'made': lambda value: 'made'}\n"
MADE = {
    "lookup": "from ansible.plugins.lookup import LookupBase\nclass LookupModule(LookupBase):\n"
    "    def run(self, terms, variables=None, **kwargs): return ['made']\n",
    "filter": FILTER,
    "test": "class TestModule:\n    def tests(self): return {'made': lambda value: True}\n",
}
USES = ["query('made', 'x')", "'x' | made", "'x' is made"]
# What uses the loaders in the process of the playbook, so that its workers inherit what that has found.
USED_BEFORE = """- {name: "{{ 'a' | upper }} {{ 1 is number }}", debug: {msg: "{{ item }}"}, with_items: [1]}\n"""
CONNECTION = """\
import importlib.util, os, ansible
file = os.path.join(os.path.dirname(ansible.__file__), "plugins", "connection", "local.py")
spec = importlib.util.spec_from_file_location("of_core", file)
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
DOCUMENTATION = core.DOCUMENTATION

class Connection(core.Connection):
    def exec_command(self, command, in_data=None, sudoable=True):
        return super().exec_command("SLIP_WORD=own " + command, in_data=in_data, sudoable=sudoable)
"""
OWN_COPY = """\
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {"changed": False, "msg": "the role copies"}
"""
both_ways = pytest.mark.parametrize("hosts", ["plain", "lane1,lane2"])


@pytest.fixture
def play(venv: Path, sshd: Sshd, open_folder: Path) -> Play:
    return Play(venv, sshd, open_folder)


def uses(*templates: str) -> str:
    return "".join(f"""- {{debug: {{msg: "{{{{ {template} }}}}"}}, ignore_errors: true}}\n""" for template in templates)


@both_ways
@pytest.mark.parametrize("first", ["", USED_BEFORE], ids=["fresh", "used"])
def test_plugins_that_a_play_writes(play: Play, hosts: str, first: str) -> None:
    """Found in folders that tasks have searched before, if the process of the playbook had not."""
    tasks = first + uses(*USES)
    for kind, content in MADE.items():
        path = play.file(f"{kind}_plugins/made.py", None)
        tasks += (
            f"- {{copy: {{content: {json.dumps(content)}, dest: {path}}}, delegate_to: localhost, run_once: true}}\n"
        )
    run = play.compare(hosts, tasks + uses(*USES))
    assert any(event.kind == "ok" for event in run.events if event.task == "debug") or first, run.stdout


@both_ways
def test_plugin_that_is_written_anew_in_place(play: Play, hosts: str) -> None:
    path = play.file("filter_plugins/made.py", FILTER)
    new = play.file("made.new", FILTER.replace(": 'made'", ": 'made anew'"))
    tasks = uses("'x' | made") + f"- {{shell: cat {new} > {path}, delegate_to: localhost, run_once: true}}\n"
    run = play.compare(hosts, tasks + uses("'x' | made"))
    assert [event.result["msg"] for event in run.events if event.task == "debug"][-1] == "made anew", run.stdout


@both_ways
def test_plugin_that_warns_or_fails_on_import_does_in_each_task(play: Play, hosts: str) -> None:
    play.file("filter_plugins/broken.py", "import no_such_library\n")
    play.file(
        "filter_plugins/noisy.py", f"from ansible.utils.display import Display\nDisplay().warning('so so')\n{FILTER}"
    )
    tasks = """- {debug: {msg: "{{ 'a' | upper }}"}, register: one}\n"""
    tasks += """- {debug: {msg: "{{ 'a' | made }}"}, register: two}\n"""
    play.compare(
        hosts,
        tasks + uses("one.warnings | default([])", "two.warnings | default([])", "two | to_json"),
        no_modules=True,
    )


@both_ways
def test_plugins_of_a_role_in_the_place_of_others(play: Play, hosts: str) -> None:
    """An action that only another one has used so far."""
    play.file("roles/own/action_plugins/copy.py", OWN_COPY)
    play.file("roles/own/tasks/main.yml", '- {name: own, copy: {content: x, dest: "{{ work }}/never"}}\n')
    play.file("page.j2", "page\n")
    tasks = """- template: {src: page.j2, dest: "{{ work }}/{{ inventory_hostname }}"}\n- include_role: {name: own}\n"""
    run = play.compare(hosts, tasks)
    assert [event.result["msg"] for event in run.events if event.task == "own : own"][-1] == "the role copies"


@both_ways
def test_connection_of_ones_own_by_the_name_of_core(play: Play, hosts: str) -> None:
    play.file("connection_plugins/local.py", CONNECTION)
    own = ", vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}}\n"
    run = play.compare(hosts, f"- {{raw: printenv SLIP_WORD{own}- {{command: printenv SLIP_WORD{own}", no_modules=True)
    said = [event.result["stdout"].strip() for event in run.events if "stdout" in event.result]
    assert said == ["own"] * 2 * len(hosts.split(",")), run.stdout
