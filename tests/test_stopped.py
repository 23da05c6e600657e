"""A playbook that is stopped (Ctrl-Z) in the middle of a task, and goes on."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from kit import processes
from kit.runner import Controller
from kit.running import read_line
from kit.sshd import Sshd

MEGABYTE = 1 << 20
# More than is kept for a client that takes nothing, then what ssh and pipes have no room for.
PASSED, MORE = 257 * MEGABYTE, 40 * MEGABYTE
# So long an agent is waited for that was asked for a copy.
HOLDER_ANSWERS_S = 5
FLOODS = f"""\
import os
import sys
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({{'begun': {{}}, 'go': {{}}, 'passed': {{}}}})
with open(module.params['begun'], 'w') as begun:
    begun.write('begun\\n')
open(module.params['go']).read()
sys.stdout.write('{{"text": "')
for size in ({PASSED}, {MORE}):
    for _ in range(size >> 20):
        sys.stdout.write('a' * {MEGABYTE})
    sys.stdout.flush()
    with open(module.params['passed'], 'a') as passed:
        passed.write('passed\\n')
sys.stdout.write('"}}')
sys.stdout.flush()
os._exit(0)
"""
COUNTS = """\
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        found = self._execute_module('floods', self._task.args, task_vars=task_vars)
        size = len(found.pop('text', ''))
        return {'size': size, 'found': {name: str(value)[-99:] for name, value in found.items()}}
"""


def signal_all(pid: int, number: signal.Signals, daemon: int) -> None:
    """Signal a playbook and its workers, which have sessions of their own since 2.19, but not the daemon."""
    for child in processes.children(pid):
        if child != daemon:
            signal_all(child, number, daemon)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def test_output_that_nobody_takes(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """It is more than the daemon keeps, and all of it is there in the end. Another playbook does not wait for it."""
    for name, content in (("library/floods.py", FLOODS), ("action_plugins/counts.py", COUNTS)):
        path = open_folder / name
        path.parent.mkdir()
        path.write_text(content)
    names = ("begun", "go", "passed")
    for name in names:
        os.mkfifo(open_folder / name)
        (open_folder / name).chmod(0o666)
    places = ", ".join(f"{name}: {open_folder / name}" for name in names)
    flood, ping = open_folder / "flood.yml", open_folder / "ping.yml"
    flood.write_text(
        f"[{{hosts: sudo, gather_facts: false, become: true, tasks: [{{ping: }}, {{counts: {{{places}}}}}]}}]"
    )
    ping.write_text("[{hosts: sudo, gather_facts: false, become: true, tasks: [{ping: }]}]")
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        process = controller.start(flood, "-v")
        try:
            read_line(open_folder / "begun")
            daemon = controller.status()["pid"]
            signal_all(process.pid, signal.SIGSTOP, daemon)
            (open_folder / "go").write_text("")
            read_line(open_folder / "passed")
            other = controller.run(ping, deadline_seconds=60)
            signal_all(process.pid, signal.SIGCONT, daemon)
            read_line(open_folder / "passed")
            stdout, stderr = process.communicate(timeout=120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert other.rc == 0, other.stdout + other.stderr
    # Nor does it ask that agent for what it holds.
    assert other.seconds < HOLDER_ANSWERS_S
    assert process.returncode == 0, stdout + stderr
    assert f'"size": {PASSED + MORE}' in stdout, stdout[:3000]
