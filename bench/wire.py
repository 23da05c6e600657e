"""Counts the bytes of a cold link and of a second run on it, ssh included, under each way of running.

A relay in front of the tests' sshd does the counting. Needs root and an environment with ansible-core,
Slipstream and, for its line, mitogen:

    python bench/wire.py [MODE...]
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kit import accounts
from kit.relay import Relay
from kit.runner import Controller
from kit.sshd import Sshd

PLAYS = {
    "setup, apt": "[{setup: {}}, {apt: {name: hello-no-such-package, state: absent}}]",
    "20 command": f"[{', '.join(['{command: hostname}'] * 20)}]",
    "1 command": "[{command: hostname}]",
}


def main() -> None:
    """Run each play twice in each mode and print what went over the wire."""
    have_mitogen = importlib.util.find_spec("ansible_mitogen") is not None
    modes = sys.argv[1:] or ["stock", *(["mitogen"] if have_mitogen else []), "slipstream"]
    folder = Path(tempfile.mkdtemp(prefix="slip-bench-"))
    folder.chmod(0o755)
    print(f"{'play':12} {'mode':11} {'cold up':>9} {'down':>9} {'again up':>9} {'down':>9}")
    with accounts.created(), Sshd() as sshd:
        for title, tasks in PLAYS.items():
            for mode in modes:
                measure(title, tasks, mode, sshd, folder)


def measure(title: str, tasks: str, mode: str, sshd: Sshd, folder: Path) -> None:
    """Print one line."""
    kind = "slipstream" if mode == "slipstream" else "stock"
    playbook = folder / "play.yml"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, become: true, tasks: {tasks}}}]")
    with Controller(Path(sys.prefix), kind, sshd, folder / "run") as controller:  # type: ignore[arg-type]
        if mode == "mitogen":
            use_mitogen(folder / "run" / "ansible.cfg")
        with Relay(sshd.port) as relay:
            relay.make_known(folder / "run" / "known_hosts")
            counts = [0, 0]
            said = []
            for _ in range(2):
                run = controller.run(playbook, "-e", f"ansible_port={relay.port}")
                if run.rc:
                    sys.exit(run.stdout + run.stderr)
                now = [relay.counts.up, relay.counts.down]
                said += [new - old for new, old in zip(now, counts, strict=True)]
                counts = now
        print(f"{title:12} {mode:11} " + " ".join(f"{count:9,}" for count in said), flush=True)


def use_mitogen(config: Path) -> None:
    """Put the peer's lines into an ansible.cfg."""
    spec = importlib.util.find_spec("ansible_mitogen")
    assert spec and spec.submodule_search_locations
    plugins = Path(next(iter(spec.submodule_search_locations))) / "plugins" / "strategy"
    lines = f"[defaults]\nstrategy_plugins = {plugins}\nstrategy = mitogen_linear\n"
    config.write_text(config.read_text().replace("[defaults]\n", lines))


if __name__ == "__main__":
    main()
