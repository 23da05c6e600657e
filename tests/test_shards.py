"""Steps in lanes, those of wide plays in several processes: as under stock, and ended with the playbook."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_slipstream.ansible.lanes.choice import Choice
from ansible_slipstream.ansible.lanes.news import News
from ansible_slipstream.ansible.lanes.shard import Gathering
from kit.compare import run_differences
from kit.masks import mask_text
from kit.processes import end
from kit.runner import MODES, Controller
from kit.running import ended, read_line
from kit.sshd import Sshd
from kit.terminal import converse_in_any_order
from kit.versions import core
from test_found import COUNTS

WIDE = Path(__file__).parent / "playbooks" / "wide" / "play.yml"
HOSTS = 16
# Reads which process runs it without waiting for another.
HERE = "{{ lookup('file', '/proc/self/stat').split()[0] }}"
# Some tenths of a second of computing, which nothing interrupts.
HEAVY = "{{ 3 ** (4000000 + inventory_hostname | length) % 10 }}"
WHO = f"""- {{name: who, debug: {{msg: "{HERE}"}}}}\n"""
# Waits where nobody can know before.
SLOW = """
import select
class FilterModule:
    def filters(self):
        return {"slow": lambda value: select.select([], [], [], 0.2) and value}
"""

MANY_PROCESSORS = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one processor computes for one lane at a time, in whatever process"
)


@pytest.fixture
def wide(open_folder: Path) -> list[str]:
    return hosts_here(open_folder, HOSTS)


def hosts_here(folder: Path, count: int, connection: str = "local") -> list[str]:
    """Return options for a play on hosts that are all this machine."""
    names = "\n".join(f"wide{n} ansible_host=127.0.0.{100 + n}" for n in range(1, count + 1))
    variables = f"ansible_connection={connection}\nansible_python_interpreter=/usr/bin/python3\n"
    inventory = folder / "wide.ini"
    # What logs in to the others does to these.
    inventory.write_text(f"[wide]\n{names}\n[wide:vars]\n{variables}[remote:children]\nwide\n")
    return ["-i", str(folder / "run" / "inventory.json"), "-i", str(inventory)]


@pytest.fixture
def controller(venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    monkeypatch.setenv("SLIPSTREAM_SHARDS", "2")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as made:
        yield made


def write(folder: Path, tasks: str) -> Path:
    playbook = folder / "play.yml"
    indented = tasks.replace("\n", "\n    ")
    playbook.write_text(f"- hosts: wide\n  gather_facts: false\n  tasks:\n    {indented}\n")
    return playbook


@pytest.mark.parametrize(
    ("connection", "shards", "hosts", "forks"),
    [
        *(("local", "2", HOSTS, forks) for forks in (HOSTS, 64)),
        *(("local", "1", *wide) for wide in ((1, 5), (2, 1), (2, 5), (20, 5), (20, 64))),
        *(("ssh", "1", *wide) for wide in ((1, 5), (2, 1), (20, 5))),
    ],
)
def test_wide_play_reads_as_under_stock(
    venv: Path,
    sshd: Sshd,
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    connection: str,
    shards: str,
    hosts: int,
    forks: int,
) -> None:
    """In shards and in lanes of one process, with more forks than hosts and with fewer."""
    monkeypatch.setenv("SLIPSTREAM_SHARDS", shards)
    options = [*hosts_here(open_folder, hosts, connection), "-f", str(forks)]
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            for kind in ("filter", "lookup"):
                controller.variables[f"ANSIBLE_{kind.upper()}_PLUGINS"] = str(WIDE.parent.parent / f"{kind}_plugins")
            runs.append(controller.run(WIDE, *options, deadline_seconds=240))
    assert len(runs[0].events) > 20 * hosts, runs[0].stdout
    found = list(map(str, run_differences(*runs)))
    assert not found, "\n".join([*found[:40], runs[1].stdout[-2000:], runs[1].stderr[-4000:]])
    if hosts == 1:
        # One after the other, whatever runs them. Up to 2.18 a worker's own prints are lost on the way into a pipe.
        lost = "stray wide1 on stdout\n" if core(venv) < (2, 19) else ""
        stock, ours = (mask_text(run.stdout) for run in runs)
        assert ours.replace(lost, "") == stock


@pytest.mark.parametrize("how", ["kills", "exits"])
@pytest.mark.parametrize("number", [9, 127, 128, 255])
def test_lookup_that_ends_its_process_ends_a_worker(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch, how: str, number: int
) -> None:
    if how == "kills" and number > 64:
        pytest.skip("not the number of a signal")
    monkeypatch.setenv("SLIPSTREAM_SHARDS", "2")
    task = f"""- {{debug: {{msg: "{{{{ lookup('unruly', '{how}', number={number}) }}}}"}}, loop: [1]}}\n- ping:"""
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            controller.variables["ANSIBLE_LOOKUP_PLUGINS"] = str(WIDE.parent.parent / "lookup_plugins")
            options = [*hosts_here(open_folder, HOSTS), "-f", str(HOSTS)]
            runs.append(controller.run(write(open_folder, task), *options, deadline_seconds=60))
    assert "dead state" in runs[0].stderr and runs[0].rc == runs[1].rc, runs[1].stdout + runs[1].stderr
    assert "dead state" in runs[1].stderr and not any(event.task == "ping" for event in runs[1].events)


def test_each_host_gets_the_answer_to_its_own_question(
    controller: Controller, open_folder: Path, wide: list[str]
) -> None:
    controller.variables["ANSIBLE_LOOKUP_PLUGINS"] = str(WIDE.parent.parent / "lookup_plugins")
    task = """- debug: {msg: "{{ inventory_hostname }} is {{ lookup('unruly', 'greets') }}"}\n  loop: [1]"""
    playbook = write(open_folder, task)
    code, shown = converse_in_any_order(controller, playbook, re.compile(r"who is (\w+)\? "), *wide, "-f", "50")
    assert code == 0, shown
    assert sorted(re.findall(r'"msg": "(\w+) is (\w+)"', shown)) == sorted(
        (f"wide{n}", f"wide{n}") for n in range(1, 17)
    )


@pytest.mark.parametrize("shards", ["1", "2"])
@pytest.mark.parametrize("forks", [1, 2, 5, HOSTS])
def test_hosts_see_of_others_what_a_quiet_stock_shows_them(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch, forks: int, shards: str
) -> None:
    """A host begins when the one that is as many before it as there are forks has ended, and what that says is seen by
    the next. Stock's workers may be later, on a machine with other work."""
    monkeypatch.setenv("SLIPSTREAM_SHARDS", shards)
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        playbook = write(open_folder, COUNTS.rstrip("\n"))
        run = controller.run(playbook, *hosts_here(open_folder, HOSTS), "-f", str(forks), deadline_seconds=60)
    seen = [max(0, number - forks - 1) for number in range(1, HOSTS + 1)]
    assert [event.result["msg"] for event in run.events if event.task == "debug"] == [" ".join(map(str, seen))]


def test_lanes_are_dealt_out_to_processes(controller: Controller, open_folder: Path, wide: list[str]) -> None:
    run = controller.run(write(open_folder, WHO), *wide, "-f", "50", deadline_seconds=60)
    by_process = [event.result["msg"] for event in run.events if event.task == "who"]
    assert len(by_process) == HOSTS and len(set(by_process)) == 2


def test_step_that_does_not_start_at_once_needs_no_shards(
    controller: Controller, open_folder: Path, wide: list[str]
) -> None:
    run = controller.run(write(open_folder, WHO), *wide, "-f", str(HOSTS - 1), deadline_seconds=60)
    assert len({event.result["msg"] for event in run.events if event.task == "who"}) == 1


@MANY_PROCESSORS
def test_first_lane_tells_that_shards_are_quicker(
    controller: Controller, open_folder: Path, wide: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs in the playbook's own process, and the others in as many shards as fit."""
    monkeypatch.setenv("SLIPSTREAM_SHARDS", "auto")
    task = f"""- {{name: who, debug: {{msg: "{HERE} {HEAVY}"}}}}"""
    run = controller.run(write(open_folder, task), *wide, "-f", "50", deadline_seconds=120)
    assert run.rc == 0, run.stdout + run.stderr
    by_process = Counter(event.result["msg"].split()[0] for event in run.events if event.task == "who")
    assert sorted(by_process.values()) == [1, 7, 8]


def test_step_that_computes_little_stays_in_one_process() -> None:
    """As the first lane was quick, nothing is forked for the others."""
    started: list[int] = []
    task = SimpleNamespace(loop=None)

    class NoWorker:
        def __init__(self, **_: object) -> None:
            raise AssertionError("a shard")

    gathering = Gathering(NoWorker, None, News())
    for number in range(HOSTS):
        begin = functools.partial(started.append, number)
        lane: Any = SimpleNamespace(fields={"task": task}, choice=Choice(2), start_here=begin)
        gathering.add(lane)
        assert started == [0], "only the first one starts at once"
    gathering.start()
    assert started == list(range(HOSTS))


@MANY_PROCESSORS
def test_hosts_of_a_task_that_computes_do_not_wait_for_each_other(controller: Controller, open_folder: Path) -> None:
    """More hosts than forks: what the first two lanes compute makes the others' be done in processes."""
    task = f"""- {{name: who, debug: {{msg: "{HERE} {HEAVY}"}}}}"""
    run = controller.run(write(open_folder, task), *hosts_here(open_folder, 6), "-f", "2", deadline_seconds=120)
    assert run.rc == 0, run.stdout + run.stderr
    messages = [event.result["msg"].split()[0] for event in run.events if event.task == "who"]
    assert len(messages) == 6
    # The third may have been started before the second had ended.
    assert len(set(messages)) >= 4, messages


def test_hosts_of_a_slow_task_do_not_wait_for_each_other(
    controller: Controller, open_folder: Path, wide: list[str]
) -> None:
    """What the shards learn, the playbook knows for the second turn."""
    tasks = "- include_tasks: slow.yml\n  loop: [1, 2]\n"
    (open_folder / "slow.yml").write_text(WHO.replace("[0]", "[0] | slow"))
    (open_folder / "filter_plugins").mkdir()
    (open_folder / "filter_plugins" / "slow.py").write_text(SLOW)
    run = controller.run(write(open_folder, tasks), *wide, "-f", "50", deadline_seconds=120)
    assert run.rc == 0, run.stdout + run.stderr
    messages = [event.result["msg"] for event in run.events if event.task == "who"]
    assert len(messages) == 2 * HOSTS
    # Two shards at first, a worker each afterwards.
    assert len(set(messages)) >= HOSTS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["INT", "TERM", "shard"])
def test_signals_end_shards_and_what_they_run(
    venv: Path, controller: Controller, open_folder: Path, wide: list[str], number: signal.Signals
) -> None:
    """A killed shard ends the play as a killed worker does."""
    if core(venv) < (2, 19):
        pytest.skip("up to 2.18 stock leaves its workers' commands running")
    fifo = open_folder / "started"
    os.mkfifo(fifo)
    task = f"- raw: 'if [ {{{{ inventory_hostname }}}} = wide2 ]; then echo $$ $PPID > {fifo}; exec sleep 300; fi'"
    process = controller.start(write(open_folder, task), *wide, "-f", "50")
    command, shard = (int(word) for word in read_line(fifo).split())
    assert shard != process.pid
    if number == signal.SIGKILL:
        os.kill(shard, number)
    elif number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode != 0, stdout + stderr
    assert ended(shard, 5)
    if number == signal.SIGKILL:
        assert "dead state" in stdout + stderr
        os.kill(command, signal.SIGKILL)
    else:
        assert ended(command, 5), stdout + stderr


def test_signal_that_a_thread_of_a_shard_gets_ends_the_shard(
    controller: Controller, open_folder: Path, wide: list[str]
) -> None:
    """The system may give a signal to any thread; handlers of Python's wait for the main one."""
    fifo = open_folder / "started"
    os.mkfifo(fifo)
    # The last to begin: no other lane's end wakes the shard.
    task = f"""- raw: 'echo $$ $PPID > {fifo}; exec sleep 300'\n  when: inventory_hostname == "wide{HOSTS}"\n"""
    process = controller.start(write(open_folder, task), *wide, "-f", "50")
    command, shard = (int(word) for word in read_line(fifo).split())
    libc = ctypes.CDLL(None)
    threads = [int(name) for name in os.listdir(f"/proc/{shard}/task") if int(name) != shard]
    try:
        for thread in threads:
            libc.tgkill(shard, thread, signal.SIGTERM)
        assert ended(shard, 5)
        stdout, stderr = process.communicate(timeout=20)
    finally:
        for pid in (command, process.pid):
            end(pid)
    assert process.returncode != 0 and "dead state" in stdout + stderr
