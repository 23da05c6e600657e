"""The comparison is only worth something if it reports what it must: negative controls included."""

from __future__ import annotations

from typing import Any

import pytest
from kit.compare import Difference, event_differences, run_differences, value_differences
from kit.known import Known
from kit.masks import mask, mask_text
from kit.runner import Event, Run


def event(task: str = "t", kind: str = "ok", host: str = "h", **result: Any) -> Event:
    """Return an event with little to type."""
    return Event(kind, host, task, result)


def run(*events: Event, rc: int = 0, stderr: str = "") -> Run:
    """Return a run with little to type."""
    return Run(rc, "", stderr, 1.0, list(events))


def test_equal_runs_have_no_differences() -> None:
    events = [event(stdout="a", nested={"list": [1, {"x": None}]}), event("u", kind="failed")]
    assert list(run_differences(run(*events), run(*events))) == []


def test_unmasked_difference_is_reported_with_its_path() -> None:
    a, b = event(results=[{"stdout": "a"}]), event(results=[{"stdout": "b"}])
    assert list(event_differences([a], [b])) == [Difference("t", "h", "results[0].stdout", "a", "b")]


def test_changed_flag_is_reported() -> None:
    found = list(event_differences([event(changed=True)], [event(changed=False)]))
    assert [(one.path, one.a, one.b) for one in found] == [("changed", True, False)]


def test_missing_event_is_reported_and_the_rest_still_paired() -> None:
    a = [event("one"), event("two"), event("three", rc=0)]
    b = [event("one"), event("three", rc=1)]
    assert [(one.task, one.path) for one in event_differences(a, b)] == [("two", "event ok"), ("three", "rc")]


def test_missing_host_is_reported() -> None:
    assert [one.host for one in event_differences([event(host="x")], [])] == ["x"]


def test_other_kind_is_reported() -> None:
    found = list(event_differences([event(kind="failed")], [event(kind="unreachable")]))
    assert [one.path for one in found] == ["event failed", "event unreachable"]


def test_order_on_one_host_counts() -> None:
    assert list(event_differences([event("one"), event("two")], [event("two"), event("one")]))


def test_order_between_hosts_does_not_count() -> None:
    a, b = event(host="x"), event(host="y")
    assert list(event_differences([a, b], [b, a])) == []


def test_exit_code_is_reported() -> None:
    assert [one.path for one in run_differences(run(rc=0), run(rc=2))] == ["rc"]


def test_message_on_one_side_is_reported_whatever_its_wrapping() -> None:
    a = run(stderr="[WARNING]: one two\nthree\n[WARNING]: four\n")
    b = run(stderr="[WARNING]: one\ntwo three\n")
    assert [(one.a, one.b) for one in run_differences(a, b)] == [("[WARNING]: four", "<absent>")]


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, True), (0, False), ("1", 1), (None, "<absent>"), ([1], [1, 1]), ({"k": None}, {}), ("", None)],
)
def test_values_that_only_look_alike_differ(a: Any, b: Any) -> None:
    assert list(value_differences(a, b))


def test_masked_time_still_has_a_kind() -> None:
    assert mask({"mtime": 1.5}) == mask({"mtime": 2.5})
    assert mask({"mtime": 1.5}) != mask({"mtime": "1.5"})
    assert mask({"mtime": 1.5}) != mask({})


@pytest.mark.parametrize(
    "text",
    [
        "rc 3 after 10 tries",
        "/home/slip-alice/.ansible/collections",
        "tmp is full",
        "port 2222 is closed",
        "ansible.legacy.command",
        "uid=1001(slip-alice)",
        "2.21.5",
    ],
)
def test_ordinary_text_is_not_masked(text: str) -> None:
    assert mask_text(text) == text


def test_random_names_are_masked() -> None:
    a = "/tmp/ansible-tmp-1790000000.1-77-123/source /tmp/tmpab12cd_x 2026-01-02 03:04:05.678"
    b = "/tmp/ansible-tmp-1790000009.2-78-456/source /tmp/tmpzz99yy_w 2027-02-03 04:05:06.789"
    assert mask_text(a) == mask_text(b) != a


def test_random_basename_is_masked_and_a_real_one_is_not() -> None:
    assert mask({"_original_basename": ".1a8t6_41"}) == mask({"_original_basename": ".0yeb_hkn"})
    assert mask({"_original_basename": "text.txt"}) != mask({"_original_basename": "page.j2"})


def test_version_is_masked_only_in_a_stat_result() -> None:
    assert mask({"inode": 1, "version": "1"}) == mask({"inode": 2, "version": "2"})
    assert mask({"version": "1"}) != mask({"version": "2"})


def test_list_made_from_a_set_is_compared_without_order() -> None:
    name = "ansible_virtualization_tech_guest"
    assert mask({name: ["a", "b"]}) == mask({name: ["b", "a"]}) != mask({name: ["a"]})
    assert mask({"other": ["a", "b"]}) != mask({"other": ["b", "a"]})


def test_known_difference_must_match_as_a_whole() -> None:
    known = Known("flow", "a task", r"stat\..*", "why")
    assert known.explains("flow", Difference("a task", "h", "stat.size", 1, 2))
    assert not known.explains("flow", Difference("a task 2", "h", "stat.size", 1, 2))
    assert not known.explains("files", Difference("a task", "h", "stat.size", 1, 2))
    assert not known.explains("flow", Difference("a task", "h", "x.stat.size", 1, 2))
