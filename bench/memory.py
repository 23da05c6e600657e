"""Measures the daemon's memory with 1 and with 50 links, each with an agent.

Needs root (it starts the tests' sshd) and an environment with ansible-core and Slipstream:

    python bench/memory.py [LINKS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kit import accounts
from kit.runner import Controller
from kit.sshd import Sshd

PLAY = "[{hosts: 'many*', gather_facts: false, tasks: [{ping: }]}]"


def main() -> None:
    """Measure and print."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    folder = Path(tempfile.mkdtemp(prefix="slip-bench-"))
    folder.chmod(0o755)
    with accounts.created(), Sshd() as sshd:
        for links in (1, many):
            with Controller(Path(sys.prefix), "slipstream", sshd, folder / "run") as controller:
                print(f"{links:4} links: {measure(controller, folder, links)}", flush=True)


def measure(controller: Controller, folder: Path, links: int) -> str:
    """Open so many links with an agent each, and read the daemon's memory."""
    hosts = "\n".join(f"many{n} ansible_host=127.0.1.{n}" for n in range(1, links + 1))
    inventory = folder / "run" / "many.ini"
    inventory.write_text(f"[remote]\n{hosts}\n[remote:vars]\nansible_python_interpreter=/usr/bin/python3\n")
    playbook = folder / "ping.yml"
    playbook.write_text(PLAY)
    trust = folder / "run" / "known_hosts"
    trust.write_text(trust.read_text().replace("127.0.0.*", "127.0.*.*"))
    sources = ["-i", str(folder / "run" / "inventory.json"), "-i", str(inventory)]
    done = controller.run(playbook, *sources)
    assert done.rc == 0, done.stdout + done.stderr
    status = controller.status()
    assert len(status["links"]) == links
    lines = Path(f"/proc/{status['pid']}/status").read_text().splitlines()
    return ", ".join(line.replace("\t", " ") for line in lines if line.startswith(("VmRSS", "VmHWM", "RssAnon")))


if __name__ == "__main__":
    main()
