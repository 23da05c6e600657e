"""Lanes: that they are used, run side by side, end when told to, and show what stock shows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
import textwrap
from pathlib import Path

import pytest
from ansible_slipstream.ansible.lanes import isolation
from kit.compare import run_differences
from kit.known import unexpected
from kit.masks import mask_text
from kit.plays import Play
from kit.runner import MODES, Controller, Mode, Run
from kit.running import ended, read_lines
from kit.sshd import Sshd
from kit.terminal import converse_in_any_order
from kit.versions import core

LANES = Path(__file__).parent / "playbooks" / "lanes.yml"
LOOKUPS = str(LANES.parent / "lookup_plugins")
# Reads which process runs it without waiting for another.
HERE = "{{ lookup('file', '/proc/self/stat').split()[0] }}"
WAITS = """
import subprocess
class FilterModule:
    def filters(self):
        return {"waits": lambda path: subprocess.check_output(["timeout", "30", "cat", path], text=True).strip()}
"""
ASKS = """
from ansible.utils.display import Display
class FilterModule:
    def filters(self):
        return {"asks": lambda question: Display().prompt_until(question).decode()}
"""
# Holds the playbook's process back when it has forked until the answer to a question has been handed over.
LATE_PARENT = """
DOCUMENTATION = "name: late\\ntype: aggregate\\nshort_description: late\\ndescription: d"
import os
import threading
from ansible.executor.process.worker import WorkerProcess
from ansible.executor.task_queue_manager import FinalQueue
from ansible.plugins.callback import CallbackBase
from ansible.utils.display import Display

main = os.getpid()
asked, answered = threading.Event(), threading.Event()
stock_get, stock_prompt, stock_start = FinalQueue.get, Display.prompt_until, WorkerProcess.start

def get(self, *args, **kwargs):
    # The one that takes questions has done with the last.
    if asked.is_set():
        answered.set()
    return stock_get(self, *args, **kwargs)

def prompt_until(self, *args, **kwargs):
    if os.getpid() == main and threading.current_thread() is not threading.main_thread():
        asked.set()
    return stock_prompt(self, *args, **kwargs)

def start(self):
    stock_start(self)
    if os.getpid() == main and answered.wait(20):
        Display().display("the answer was first")

FinalQueue.get, Display.prompt_until, WorkerProcess.start = get, prompt_until, start

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "late"
"""


def run_play(controller: Controller, folder: Path, hosts: str, tasks: str, *options: str) -> Run:
    return controller.run(write(folder, hosts, tasks), *options, deadline_seconds=120)


def write(folder: Path, hosts: str, tasks: str) -> Path:
    playbook = folder / "play.yml"
    header = f"- hosts: {hosts}\n  gather_facts: false\n  tasks:\n"
    playbook.write_text(header + textwrap.indent(textwrap.dedent(tasks), "    "))
    return playbook


def messages(run: Run) -> list[str]:
    return [event.result["msg"] for event in run.events if "msg" in event.result]


@pytest.mark.parametrize(("hosts", "options"), [("plain", []), ("lanes", []), ("lanes", ["-f", "1"])])
def test_tasks_run_in_the_process_of_the_playbook(
    venv: Path, sshd: Sshd, open_folder: Path, hosts: str, options: list[str]
) -> None:
    task = f"""- debug: {{msg: "{HERE}"}}"""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        pids = messages(run_play(controller, open_folder, hosts, task + "\n" + task, *options))
        process = controller.start(write(open_folder, hosts, task), *options)
        stdout, _ = process.communicate(timeout=60)
    # lane3 has a connection that no lane takes.
    by_lanes = [pid for pid in set(pids) if pids.count(pid) > 1]
    assert len(by_lanes) == 1
    assert pids.count(by_lanes[0]) == (2 if hosts == "plain" else 6)
    assert str(process.pid) in stdout


def test_lanes_can_be_switched_off(venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPSTREAM_LANES", "false")
    task = f"""- debug: {{msg: "{HERE}"}}"""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        pids = messages(run_play(controller, open_folder, "plain", task + "\n" + task))
    assert len(set(pids)) == 2


def test_fewer_forks_than_hosts_show_what_stock_shows(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """More forks than hosts, and all the tasks, are in test_parity."""

    def run(mode: Mode) -> Run:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            return controller.run(LANES, "-f", "2", "--tags", "forks")

    found = unexpected("lanes", list(run_differences(run("stock"), run("slipstream"))))
    assert list(map(str, found)) == []


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_hosts_that_wait_for_a_fork_get_it(venv: Path, sshd: Sshd, open_folder: Path, strategy: str) -> None:
    """The second of four hosts keeps one of two forks until the fourth has come to its turn in the other."""
    fifo = open_folder / "fourth"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    commands = ["true", f"cat {fifo}", "true", f"echo x > {fifo}"]
    tasks = "- shell: timeout 30 sh -c '{{ commands[ansible_play_hosts.index(inventory_hostname)] }}'\n"
    tasks += f"  vars: {{commands: {json.dumps(commands)}}}"
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        playbook = write(open_folder, "lane1,lane2,plain,plain2", tasks)
        playbook.write_text(playbook.read_text().replace("  gather", f"  strategy: {strategy}\n  gather", 1))
        run = controller.run(playbook, "-f", "2", deadline_seconds=60)
    assert run.rc == 0, run.stdout + run.stderr


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_no_more_hosts_run_at_a_time_than_there_are_forks(
    venv: Path, sshd: Sshd, open_folder: Path, strategy: str
) -> None:
    """Each command holds one of two places for a while."""
    places = open_folder / "places"
    places.mkdir()
    places.chmod(0o777)
    one, two = places / "one", places / "two"
    hold = "mkdir {0} && sleep 0.2 && rmdir {0}"
    tasks = f"- shell: ({hold.format(one)}) || ({hold.format(two)})"
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        playbook = write(open_folder, "lane1,lane2,plain,plain2", tasks)
        playbook.write_text(playbook.read_text().replace("  gather", f"  strategy: {strategy}\n  gather", 1))
        run = controller.run(playbook, "-f", "2", deadline_seconds=60)
    assert run.rc == 0, run.stdout + run.stderr


@pytest.mark.parametrize("strategy", ["linear", "free", "ansible.builtin.free", "ansible.builtin.host_pinned"])
def test_hosts_wait_for_their_targets_side_by_side(venv: Path, sshd: Sshd, open_folder: Path, strategy: str) -> None:
    """Each target's command waits for the other's: one after the other would never end."""
    ping, pong = open_folder / "ping", open_folder / "pong"
    for fifo in (ping, pong):
        os.mkfifo(fifo)
        fifo.chmod(0o666)
    first, second = f"echo x > {ping}; cat {pong}", f"cat {ping}; echo x > {pong}"
    tasks = f"""- command: timeout 30 sh -c "{{{{ '{first}' if inventory_hostname == 'lane1' else '{second}' }}}}\""""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        playbook = write(open_folder, "lane1,lane2", tasks)
        playbook.write_text(playbook.read_text().replace("  gather", f"  strategy: {strategy}\n  gather", 1))
        run = controller.run(playbook, deadline_seconds=100)
    assert run.rc == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "waits",
    [
        "lookup('pipe', 'timeout 30 cat ' ~ fifo)",
        "lookup('ansible.builtin.lines', 'timeout 30 cat ' ~ fifo)",
        "lookup('url', 'file://' ~ fifo)",
        "fifo | waits",
    ],
    ids=["pipe", "lines", "url", "filter"],
)
def test_lookups_and_filters_that_wait_hold_no_other_host_up(
    venv: Path, sshd: Sshd, open_folder: Path, waits: str
) -> None:
    """The first host waits for what the second one's lookup writes: one after the other would never end."""
    fifo = open_folder / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    (open_folder / "filter_plugins").mkdir()
    (open_folder / "filter_plugins" / "waits.py").write_text(WAITS)
    writes = "lookup('pipe', 'echo x | timeout 30 tee ' ~ fifo)"
    tasks = f"""\
- debug:
    msg: >-
      {{{{ {waits} if inventory_hostname == 'lane1' else {writes} }}}}
  vars: {{fifo: {fifo}}}
"""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        run = run_play(controller, open_folder, "lane1,lane2", tasks)
    assert run.rc == 0, run.stdout + run.stderr
    assert messages(run) == ["x", "x"]


@pytest.mark.parametrize("hosts", ["plain", "lane1,lane2"])
def test_what_is_done_is_shown_while_the_next_task_runs(venv: Path, sshd: Sshd, open_folder: Path, hosts: str) -> None:
    fifo = open_folder / "go"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        tasks = f"- debug: {{msg: the first is done}}\n- command: timeout 60 cat {fifo}\n  run_once: true"
        process = controller.start(write(open_folder, hosts, tasks))
        assert process.stdout
        shown = b""
        while b"the first is done" not in shown:
            assert select.select([process.stdout], [], [], 30)[0], shown
            shown += os.read(process.stdout.fileno(), 65536)
        fifo.write_text("go")
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr


@pytest.mark.parametrize("hosts", ["localhost", "lane1,lane2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@pytest.mark.parametrize("kind", ["raw", "shell", "lookup", "third party"])
def test_signals_end_playbook_and_tasks(
    venv: Path, sshd: Sshd, open_folder: Path, hosts: str, number: signal.Signals, kind: str
) -> None:
    """`raw` and, with one host, a lookup run commands of the playbook's own process, `shell` a module on an agent.

    Other lookups run them in a worker. Nothing is forked when the signal comes: stock's own workers may miss
    one that does while they start.
    """
    if number == signal.SIGTERM and kind != "shell" and core(venv) < (2, 19):
        pytest.skip("up to 2.18 stock leaves its workers' commands running")
    fifo = open_folder / "started"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    connection = "local" if hosts == "localhost" else "ssh"
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        command = f"echo $$ > {fifo}; exec sleep 300"
        tasks = f"""- {kind}: '{command}'\n  vars: {{ansible_connection: {connection}}}"""
        if kind == "lookup":
            tasks = f"""- debug: {{msg: "{{{{ lookup('pipe', '{command}') }}}}"}}"""
        if kind == "third party":
            controller.variables["ANSIBLE_LOOKUP_PLUGINS"] = LOOKUPS
            tasks = f"""- debug: {{msg: "{{{{ lookup('unruly', 'runs', command='{command}') }}}}"}}"""
        process = controller.start(write(open_folder, hosts, tasks))
        started = 2 if "," in hosts else 1
        commands = [int(word) for word in read_lines(fifo, started).split()]
        if number == signal.SIGINT:
            # As a terminal sends it.
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        # Stock waits up to ten seconds for workers that do not end.
        stdout, stderr = process.communicate(timeout=8)
        assert process.returncode in (99, 250, 130, -number), stdout + stderr
        assert all(ended(command, 5) for command in commands), stdout + stderr


@pytest.mark.parametrize("hosts", ["plain", "plain,plain2"])
def test_interrupted_playbook_ends_as_under_stock(venv: Path, sshd: Sshd, open_folder: Path, hosts: str) -> None:
    """Its code and what it says, with handlers and a rescue that must not run. Hosts answer in any order."""
    fifo = open_folder / "started"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    tasks = f"""\
- debug: {{msg: before}}
  changed_when: true
  notify: never
- block:
    - shell: 'echo $$ > {fifo}; exec sleep 300'
  rescue:
    - debug: {{msg: rescued}}
  always:
    - debug: {{msg: always}}
- debug: {{msg: after}}
"""
    ends = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            playbook = write(open_folder, hosts, tasks)
            playbook.write_text(playbook.read_text() + "  handlers: [{name: never, debug: {msg: handled}}]\n")
            process = controller.start(playbook)
            commands = [int(word) for word in read_lines(fifo, len(hosts.split(","))).split()]
            os.killpg(process.pid, signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
            assert all(ended(command, 5) for command in commands) or mode == "stock"
        shown = mask_text(stdout).strip().splitlines()
        ends.append((process.returncode, sorted(shown) if "," in hosts else shown, "nterrupted" in stderr))
        for command in commands:
            with contextlib.suppress(ProcessLookupError):
                os.kill(command, signal.SIGKILL)
    assert ends[1] == ends[0]


def test_signal_that_comes_as_a_command_has_just_started_is_not_lost() -> None:
    """The lane's thread looks for signals that had to wait just when the main thread is about to let one wait."""
    heard: list[int] = []

    class Starting:
        started = False

        @property
        def starting(self) -> bool:
            if self.started:
                return False
            self.started = True
            isolation.repeat_postponed()
            return True

        def start_no_more(self) -> None:
            pass

        def end_children(self, number: int) -> None:
            pass

    before = signal.signal(signal.SIGUSR1, isolation._Ending(lambda number, _: heard.append(number), [Starting()]))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("hosts", ["plain", "lane1,lane2"])
def test_lookup_that_ends_its_process_ends_a_worker(venv: Path, sshd: Sshd, open_folder: Path, hosts: str) -> None:
    task = """- command: "echo {{ lookup('unruly', 'exits') }}"\n- debug: {msg: not reached}"""
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            controller.variables["ANSIBLE_LOOKUP_PLUGINS"] = LOOKUPS
            runs.append(run_play(controller, open_folder, hosts, task))
    assert runs[0].rc != 0 and not messages(runs[0]), runs[0].stdout
    found = list(map(str, run_differences(*runs)))
    assert not found, "\n".join(found)


def test_question_of_a_task_that_has_just_moved_is_answered(play: Play) -> None:
    """Its new process asks before the playbook's process comes to go on from the fork."""
    play.variables = {"ANSIBLE_LOOKUP_PLUGINS": LOOKUPS}
    play.file("callback_plugins/late.py", LATE_PARENT)
    task = """- debug: {msg: "{{ lookup('unruly', 'asks') }}"}\n  ignore_errors: true\n"""
    run = play.compare("plain", task, "-vvvv", no_modules=True)
    assert [shown.count("the answer was first") for shown in play.shown] == [1, 1], run.stdout


def test_each_host_gets_the_answer_to_its_own_question_after_a_wait(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Both tasks wait for their targets before either asks."""
    filters = open_folder / "filter_plugins"
    filters.mkdir()
    (filters / "asks.py").write_text(ASKS)
    tasks = """- shell: echo {{ inventory_hostname }}
  register: done
  failed_when: "('who is ' ~ done.stdout ~ '? ') | asks != inventory_hostname"
"""
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        playbook = write(open_folder, "lane1,lane2", tasks)
        options = ["-i", str(open_folder / "run" / "inventory.json")]
        code, shown = converse_in_any_order(controller, playbook, re.compile(r"who is (\w+)\? "), *options)
    assert code == 0 and shown.count("who is ") == 2, shown


def test_process_that_a_lookup_leaves_ends_with_its_worker(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    task = """- debug: {msg: "{{ lookup('unruly', 'leaves') }}"}"""
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            controller.variables["ANSIBLE_LOOKUP_PLUGINS"] = LOOKUPS
            if mode == "stock":
                # Else a worker may be ended before it has ended what it started.
                controller.variables["ANSIBLE_WORKER_SHUTDOWN_POLL_COUNT"] = "50"
            run = run_play(controller, open_folder, "lane1,lane2", task)
        left = [int(message) for message in messages(run)]
        assert len(left) == 2, run.stdout + run.stderr
        assert all(ended(pid, 5) for pid in left)


def test_closed_output_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter flushes what is not None as it ends, and says so if it can't."""
    monkeypatch.setattr(isolation, "WORKERS_ARE_DETACHED", True)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    isolation.divide_output()
    assert sys.stdout is None


@pytest.mark.parametrize("hosts", ["plain", "lane1,lane2"])
def test_callback_that_looks_something_up_does_it_in_the_process_of_the_playbook(
    venv: Path, sshd: Sshd, open_folder: Path, hosts: str
) -> None:
    shown = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            controller.variables["ANSIBLE_CALLBACK_PLUGINS"] = str(LANES.parent / "more_callbacks")
            controller.variables["ANSIBLE_LOOKUP_PLUGINS"] = LOOKUPS
            run = run_play(controller, open_folder, hosts, "- debug: {msg: x}\n  loop: [1, 2]")
        shown.append([line for line in run.stdout.splitlines() if line.startswith("counted")])
    assert len(shown[0]) == 2 * len(hosts.split(",")), run.stdout + run.stderr
    assert shown[0] == shown[1]


@pytest.mark.parametrize("hosts", ["plain", "lane1,lane2"])
def test_file_that_a_lookup_has_filled_comes_into_its_folder(
    venv: Path, sshd: Sshd, open_folder: Path, hosts: str
) -> None:
    """The folder is there before the task moves, and the process that it leaves has code that removes it."""
    (open_folder / "page.j2").write_text("{{ lookup('unruly', 'counts') }}\n")
    tasks = """\
    - ping:
    - template: {src: page.j2, dest: "{{ work }}/{{ inventory_hostname }}"}
    - command: cat {{ work }}/{{ inventory_hostname }}
    """
    runs = []
    for mode in MODES:
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            controller.variables["ANSIBLE_LOOKUP_PLUGINS"] = LOOKUPS
            runs.append(run_play(controller, open_folder, hosts, tasks))
    assert runs[0].rc == 0, runs[0].stdout
    found = list(map(str, run_differences(*runs)))
    assert not found, "\n".join(found)


def test_local_commands_have_the_session_that_stock_gives_them(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """A worker of 2.19 and later has no terminal: what it starts can't ask on it."""
    task = """- raw: ps -o sid= -p $$\n  register: said\n- debug: {msg: "{{ said.stdout }}"}"""
    own = []
    for mode in ("stock", "slipstream"):
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            process = controller.start(write(open_folder, "localhost", task))
            stdout, _ = process.communicate(timeout=60)
            own.append(f"{process.pid}" in stdout)
    assert own[0] == own[1]
