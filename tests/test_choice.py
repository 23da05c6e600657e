"""Which tasks get a lane and which a process: told from the task and its variables, and from what lanes have shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.plugins.loader import action_loader, become_loader, init_plugin_loader
from ansible.plugins.strategy.linear import StrategyModule
from ansible_slipstream.ansible.lanes.choice import BLOCKED_S, LEAST_COMPUTED_S, PROCESS_S, Choice, forget_plugins

PLUGIN = "from ansible.plugins.action import ActionBase\nclass ActionModule(ActionBase): pass\n"
BECOME = "from ansible.plugins.become import BecomeBase\nclass BecomeModule(BecomeBase): name = '{name}'\n"


class Own(StrategyModule):  # type: ignore[misc]
    """A strategy of a third party."""


@pytest.fixture(autouse=True, scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two become plugins and an action of a third party."""
    top = tmp_path_factory.mktemp("plugins")
    init_plugin_loader([])
    for loader, name, content in (
        (action_loader, "strange", PLUGIN),
        (become_loader, "calm", BECOME.format(name="calm")),
        (become_loader, "alarming", "import signal\n" + BECOME.format(name="alarming")),
    ):
        folder = top / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(content)
        loader.add_directory(str(folder))
    forget_plugins()
    yield
    forget_plugins()


def strategy(kind: type = StrategyModule) -> Any:
    """Return one that has not begun."""
    made: Any = object.__new__(kind)
    made.debugger_active = False
    return made


def load(task: dict[str, Any]) -> Any:
    """Return a task, by what the command line has a connection where it says nothing."""
    return Task.load({"connection": "ssh", **task}, loader=DataLoader())


def reason(
    task: dict[str, Any], variables: dict[str, Any] | None = None, kind: type = StrategyModule, alone: bool = False
) -> str | None:
    """Return why a process has to run a task that nothing is known of."""
    loaded = load({"ping": None, **task} if "action" not in task else task)
    return Choice(2).reason_to_fork(strategy(kind), loaded, variables or {}, alone, False)


@pytest.mark.parametrize(
    ("task", "variables", "wanted"),
    [
        ({}, {}, None),
        ({"throttle": 1}, {}, None),
        ({"become": True, "become_method": "su"}, {}, None),
        ({"become": True, "become_method": "calm"}, {}, None),
        ({"become": True, "become_method": "{{ method }}"}, {}, None),
        ({}, {"ansible_connection": "local"}, None),
        ({}, {"ansible_connection": "slipstream.core.ssh"}, None),
        ({"connection": "smart"}, {}, None),
        ({"delegate_to": "localhost"}, {}, None),
        ({"delegate_to": "other"}, {}, None),
        ({"action": "copy"}, {}, None),
        ({"action": "ansible.builtin.template"}, {}, None),
        ({"timeout": 5}, {}, "timeout"),
        ({"async": 5}, {}, "async"),
        ({"throttle": "{{ 1 }}"}, {}, "throttle is a template"),
        ({"debugger": "on_failed"}, {}, "debugger"),
        ({"delegate_to": "{{ other }}"}, {}, "delegate_to is a template"),
        ({"connection": "paramiko"}, {}, "connection"),
        ({}, {"ansible_connection": "community.docker.docker"}, "connection"),
        ({}, {"ansible_connection": "{{ 'ssh' }}"}, "connection"),
        ({}, {"ansible_shell_type": "powershell"}, "shell"),
        ({"become": True, "become_method": "alarming"}, {}, "become plugin that needs the main thread"),
        ({}, {"ansible_become_method": "alarming"}, "become plugin that needs the main thread"),
        ({"action": "pause"}, {}, "action pause"),
        ({"action": "reboot"}, {}, "action reboot"),
        ({"action": "wait_for_connection"}, {}, "action wait_for_connection"),
        ({"action": "strange"}, {}, "action plugin of a third party"),
    ],
    ids=str,
)
def test_task_tells(task: dict[str, Any], variables: dict[str, Any], wanted: str | None) -> None:
    """With one host and with more: nothing has been shown yet."""
    assert [reason(task, variables, alone=alone) for alone in (True, False)] == [wanted, wanted]


def test_strategies_of_third_parties_get_processes() -> None:
    assert reason({}, kind=Own) == "strategy"


@pytest.mark.parametrize(
    ("processors", "computed_s"),
    [(1, math.inf), (2, PROCESS_S), (3, PROCESS_S / 2), (4, PROCESS_S / 3), (64, LEAST_COMPUTED_S)],
)
def test_computing_pays_a_process_where_processors_share_it(processors: int, computed_s: float) -> None:
    """One lane may have computed what serves all; the more processors, the sooner a process pays."""
    task = load({"ping": None})

    def chosen(choice: Choice, alone: bool = False, in_shards: bool = False) -> str | None:
        return choice.reason_to_fork(strategy(), task, {}, alone, in_shards)

    choice, enough = Choice(processors), min(computed_s, 3600) * 1.01
    choice.note(task, "first", enough, 0)
    choice.note(task, "second", computed_s * 0.99 if processors > 1 else enough, 0)
    assert chosen(choice) is None
    choice.note(task, "second", enough, 0)
    assert chosen(choice) == (None if processors == 1 else "computes")
    # Nobody waits for a host that is alone, and in shards lanes compute side by side.
    assert chosen(choice, alone=True) is None and chosen(choice, in_shards=True) is None


def test_what_waited_gets_processes() -> None:
    task = load({"ping": None})
    choice = Choice(1)
    choice.note(task, "first", 0, BLOCKED_S * 0.99)
    assert choice.reason_to_fork(strategy(), task, {}, False, False) is None
    choice.note(task, "first", 0, BLOCKED_S * 1.01)
    assert choice.reason_to_fork(strategy(), task, {}, False, False) == "waits"
    assert choice.reason_to_fork(strategy(), task, {}, True, False) is None
    choice.note_moved(task)
    assert choice.reason_to_fork(strategy(), task, {}, True, False) == "lookup or filter that wants a process"
