"""What a host sees of others, and what tasks find out on their way: the same, and for as long, as under stock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit.plays import Play
from kit.runner import MODES
from kit.versions import core

COUNTS = """\
- set_fact:
    n: "{{ ansible_play_hosts_all | map('extract', hostvars) | selectattr('n', 'defined') | list | length }}"
- debug: {msg: "{{ ansible_play_hosts_all | map('extract', hostvars) | map(attribute='n') | join(' ') }}"}
  run_once: true
"""
VARS_PLUGIN = """\
from ansible.plugins.vars import BaseVarsPlugin
FOUND = {}

class VarsModule(BaseVarsPlugin):
    REQUIRES_ENABLED = False

    def get_vars(self, loader, path, entities, cache=True):
        super().get_vars(loader, path, entities)
        return {"of_plugin": "there"}
"""
COLLECTION = "collections/ansible_collections/slip/routed"

SETTLED = """\
import os, tempfile
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({'now': {}})
os.environ['TMPDIR'] = module.params['now']
module.exit_json(folder=tempfile.gettempdir())
"""


def test_a_host_that_fails_first_fails_alone(play: Play) -> None:
    """Who is the first of the play is another one as soon as the first has failed."""
    tasks = "- fail: {msg: first}\n  when: inventory_hostname == ansible_play_hosts[0]\n- debug: {msg: there}\n"
    run = play.compare("lane1,lane2,lane4,plain", tasks, no_modules=True)
    assert [event.host for event in run.events if event.kind == "failed"] == ["lane1"], run.stdout


def test_hosts_see_nothing_of_their_own_step(play: Play) -> None:
    run = play.compare("lane1,lane2,lane4,plain", COUNTS, no_modules=True)
    assert [event.result["msg"] for event in run.events if event.task == "debug"] == ["0 0 0 0"], run.stdout


def test_files_of_hosts_that_a_task_has_only_asked_for_are_read_anew(play: Play) -> None:
    play.file("host_vars/lane1.yml", None)
    play.file("host_vars/lane2.yml", "a: 1\na: 2\n")
    tasks = f"""\
- debug: {{msg: "{{{{ hostvars.lane1.word | default('nothing') }}}}"}}
- {{debug: {{msg: "{{{{ hostvars.lane2.a }}}}"}}, register: one}}
- {{debug: {{msg: "{{{{ hostvars.lane2.a }}}}"}}, register: two}}
- debug: {{msg: "{{{{ [one.warnings | default([]), two.warnings | default([])] }}}}"}}
- {{copy: {{content: "word: there", dest: {play.folder}/host_vars/lane1.yml}}, delegate_to: localhost, run_once: true}}
"""
    more = "- hosts: lane1\n  gather_facts: false\n  tasks: [{debug: {msg: '{{ word }}'}}]\n"
    run = play.compare("plain,plain2", tasks, more=more)
    assert [event.result["msg"] for event in run.events if event.host == "lane1" and "msg" in event.result] == ["there"]


def test_throttle_that_is_a_template_is_read_as_often(play: Play) -> None:
    counted = play.file("counted", "")
    tasks = f"""\
- debug: {{msg: x}}
  throttle: "{{{{ lookup('pipe', 'echo x >> {counted}; echo 2') }}}}"
- debug: {{msg: "{{{{ lookup('file', '{counted}') }}}}"}}
"""
    run = play.compare("lane1,lane2,plain", tasks, no_modules=True)
    # By the playbook's process, and by the worker.
    assert {event.result["msg"] for event in run.events if event.task} == {"x", "\n".join("xxxxxx")}


def test_delegate_whose_variables_cannot_be_read_fails_the_task(play: Play) -> None:
    play.file("host_vars/root.yml", "a: [b\n")
    tasks = """\
- block: [{name: there, command: echo x, delegate_to: root}]
  rescue: [{name: rescued, debug: {msg: rescued}}]
- {name: end, debug: {msg: end}}
"""
    run = play.compare("lane1,lane2", tasks, no_modules=True)
    assert {event.task for event in run.events if event.task} == {"there", "rescued", "end"}
    assert run.rc == 0


@pytest.mark.parametrize("hosts", ["plain", "lane1,lane2,plain"])
def test_warnings_of_python_are_each_workers_own(play: Play, hosts: str) -> None:
    task = "- {name: %s, debug: {msg: \"{{ '%s' | regex_search('[[:alpha:]]+') }}\"}}\n"
    shown = []
    for mode in MODES:
        run = play.run(mode, hosts, task % ("one", "ab") + task % ("two", "cd"))
        shown.append(" ".join(run.stderr.split()).count("Possible nested set"))
    assert shown[0] == shown[1] == 2 * (hosts.count(",") + 1)


def test_vars_plugin_of_the_same_name_as_that_of_core(play: Play) -> None:
    play.file("vars_plugins/host_group_vars.py", VARS_PLUGIN)
    play.compare("lane1,lane2", """- debug: {msg: "{{ hostvars['plain'].of_plugin }}"}\n""", no_modules=True)


def test_cached_facts_of_a_host_outside_the_play_are_read_anew(play: Play, venv: Path) -> None:
    facts = play.folder / "facts"
    wrapped = core(venv) >= (2, 19)
    name = "s1_plain2" if wrapped else "plain2"

    def cached(word: str) -> str:
        plain = json.dumps({"word": word})
        return json.dumps({"__payload__": plain}) if wrapped else plain

    options = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(facts)}
    play.variables.update(options)
    play.file(f"facts/{name}", cached("old"))
    new = play.file("new", cached("new"))
    tasks = f"""\
- debug: {{msg: "{{{{ hostvars['plain2'].ansible_facts.word }}}}"}}
- {{command: cp {new} {facts}/{name}, delegate_to: localhost, run_once: true}}
"""
    more = "- hosts: plain2\n  gather_facts: false\n  tasks: [{debug: {msg: '{{ ansible_facts.word }}'}}]\n"
    run = play.compare("lane1,lane2", tasks, more=more)
    assert [event.result["msg"] for event in run.events if "msg" in event.result and event.host == "plain2"] == ["new"]


def test_inventory_that_is_read_anew_has_hosts_for_lanes(play: Play) -> None:
    inventory = play.file("more.ini", "[more]\nlane1\n")
    tasks = f"""\
- add_host: {{name: "added_{{{{ inventory_hostname }}}}", groups: added}}
- copy: {{dest: "{inventory}", content: "[more]\\nlane2\\nnew ansible_connection=local of=ini\\n"}}
  delegate_to: localhost
  run_once: true
- meta: refresh_inventory
- debug: {{msg: "{{{{ groups.more }}}} {{{{ groups.added | default('none') }}}} {{{{ hostvars.new.of }}}}"}}
"""
    more = "- {hosts: more, gather_facts: false, tasks: [{debug: {msg: '{{ of | default(inventory_hostname) }}'}}]}\n"
    known = ["-i", str(play.folder / "run" / "inventory.json"), "-i", str(inventory)]
    run = play.compare("lane1,lane2", tasks, *known, more=more)
    assert run.rc == 0, run.stdout
    assert {event.host for event in run.events} >= {"lane2", "new"}


def test_this_machine_by_another_name(play: Play) -> None:
    """The first name that it is called by stays its name, if the playbook's own process has done it."""
    tasks = """\
- debug: {msg: "{{ hostvars['localhost'].inventory_hostname }}"}
- {set_fact: {word: 1}, delegate_to: 127.0.0.1, delegate_facts: true}
- debug: {msg: "{{ hostvars['127.0.0.1'].word | default('none') }}"}
"""
    more = "- hosts: localhost\n  gather_facts: false\n  tasks: [{debug: {msg: '{{ inventory_hostname }}'}}]\n"
    play.compare("lane1,lane2", tasks, more=more, no_modules=True)


@pytest.mark.parametrize("hosts", ["plain", "lane1,lane2"])
def test_redirections_are_shown_as_often(play: Play, hosts: str) -> None:
    play.file(f"{COLLECTION}/galaxy.yml", "namespace: slip\nname: routed\nversion: 1.0.0\n")
    routes = "plugin_routing:\n  modules: {old: {redirect: ansible.builtin.ping}}\n"
    routes += "  lookup: {old: {redirect: ansible.builtin.env}}\n"
    play.file(f"{COLLECTION}/meta/runtime.yml", routes)
    tasks = """- slip.routed.old:\n- slip.routed.old:\n- debug: {msg: "{{ lookup('slip.routed.old', 'LANG') }}"}\n"""
    play.compare(hosts, tasks, "-vv")
    counts = [shown.count("redirecting (type:") for shown in play.shown]
    assert counts[0] == counts[1] > 2, play.shown[1]


@pytest.mark.parametrize("hosts", ["plain", "localhost"])
def test_folder_of_temporary_files_is_settled_before_a_module_begins(play: Play, hosts: str) -> None:
    """Whatever it then does to its environment."""
    play.file("library/settled.py", SETTLED)
    tasks = """\
- {name: by itself, settled: {now: /var/tmp}}
- {name: by its task, settled: {now: /dev/shm}, environment: {TMPDIR: /var/tmp}}
"""
    run = play.compare(hosts, tasks)
    assert [event.result["folder"] for event in run.events if event.task] == ["/tmp", "/var/tmp"]
