"""What a host sees of others, and what tasks find out on their way: the same, and for as long, as under stock."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.plays import Play
from kit.sshd import Sshd

COUNTS = """\
- set_fact:
    n: "{{ ansible_play_hosts_all | map('extract', hostvars) | selectattr('n', 'defined') | list | length }}"
- debug: {msg: "{{ ansible_play_hosts_all | map('extract', hostvars) | map(attribute='n') | join(' ') }}"}
  run_once: true
"""
COLLECTION = "collections/ansible_collections/slip/routed"


@pytest.fixture
def play(venv: Path, sshd: Sshd, open_folder: Path) -> Play:
    return Play(venv, sshd, open_folder)


def test_a_host_that_fails_first_fails_alone(play: Play) -> None:
    """Who is the first of the play is another one as soon as the first has failed."""
    tasks = "- fail: {msg: first}\n  when: inventory_hostname == ansible_play_hosts[0]\n- debug: {msg: there}\n"
    run = play.compare("lane1,lane2,lane4,plain", tasks)
    assert [event.host for event in run.events if event.kind == "failed"] == ["lane1"], run.stdout


def test_hosts_see_nothing_of_their_own_step(play: Play) -> None:
    run = play.compare("lane1,lane2,lane4,plain", COUNTS)
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


def test_this_machine_by_another_name(play: Play) -> None:
    """The first name that it is called by stays its name, if the playbook's own process has done it."""
    tasks = """\
- debug: {msg: "{{ hostvars['localhost'].inventory_hostname }}"}
- {set_fact: {word: 1}, delegate_to: 127.0.0.1, delegate_facts: true}
- debug: {msg: "{{ hostvars['127.0.0.1'].word | default('none') }}"}
"""
    more = "- hosts: localhost\n  gather_facts: false\n  tasks: [{debug: {msg: '{{ inventory_hostname }}'}}]\n"
    play.compare("lane1,lane2", tasks, more=more)


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
