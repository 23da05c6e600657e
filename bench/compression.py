"""Times plays and files under each compression setting, over links that a relay makes slow.

Needs root and an environment with ansible-core and Slipstream; prints the table of docs/compression.md:

    python bench/compression.py [ROUNDS]
"""

from __future__ import annotations

import base64
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kit import accounts
from kit.relay import Relay
from kit.runner import Controller
from kit.sshd import Sshd

MEGABYTE = 1 << 20
# Bytes a second each way; None passes on as fast as it can.
RATES = {"full speed": None, "10 MB/s": 10 * MEGABYTE, "1 MB/s": MEGABYTE}
MODES = ("off", "fast", "best", "auto")
# The setting to which a link of 1 MB/s must not be put for minutes.
FILE_MEGABYTES = {"full speed": 64, "10 MB/s": 64, "1 MB/s": 8}


def main() -> None:
    """Run every play under every setting and print medians in seconds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    folder = Path(tempfile.mkdtemp(prefix="slip-bench-"))
    folder.chmod(0o755)
    print(f"| {'link':10} | {'play':28} | " + " | ".join(f"{mode:>6}" for mode in MODES) + " |")
    with accounts.created(), Sshd() as sshd:
        for link, rate in RATES.items():
            for title, tasks in plays(folder, FILE_MEGABYTES[link]).items():
                medians = []
                for mode in MODES:
                    os.environ["SLIPSTREAM_COMPRESSION"] = mode
                    medians.append(statistics.median(measure(tasks, rate, sshd, folder) for _ in range(rounds)))
                print(f"| {link:10} | {title:28} | " + " | ".join(f"{m:6.2f}" for m in medians) + " |", flush=True)


def plays(folder: Path, megabytes: int) -> dict[str, str]:
    """Return tasks by title; files are of that size."""
    text, noise, base64_noise = folder / "text", folder / "noise", folder / "base64"
    words = [f"{random.randrange(10**6)} a line of a log" for _ in range(5000)]
    lines = "\n".join(random.choices(words, k=megabytes * MEGABYTE // 24))
    text.write_text(lines)
    noise.write_bytes(random.randbytes(megabytes * MEGABYTE))
    base64_noise.write_bytes(base64.b64encode(random.randbytes(megabytes * MEGABYTE * 3 // 4)))
    fetch = "[{fetch: {src: %s, dest: %s/run/back, flat: true}}]"
    copy = "[{copy: {src: %s, dest: %s/run/work/there}}]"
    return {
        "cold: setup, 20 command": f"[{{setup: }}, {', '.join(['{command: hostname}'] * 20)}]",
        f"copy {megabytes} MB of text": copy % (text, folder),
        f"copy {megabytes} MB of noise": copy % (noise, folder),
        f"copy {megabytes} MB of base64": copy % (base64_noise, folder),
        f"fetch {megabytes} MB of base64": fetch % (base64_noise, folder),
        f"fetch {megabytes} MB of text": fetch % (text, folder),
    }


def measure(tasks: str, rate: float | None, sshd: Sshd, folder: Path) -> float:
    """Return the seconds that one cold play takes."""
    playbook = folder / "play.yml"
    playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: {tasks}}}]")
    with Controller(Path(sys.prefix), "slipstream", sshd, folder / "run") as controller:
        with Relay(sshd.port, rate=rate or float("inf")) as relay:
            relay.make_known(folder / "run" / "known_hosts")
            run = controller.run(playbook, "-e", f"ansible_port={relay.port}")
        if run.rc:
            sys.exit(run.stdout + run.stderr)
        return run.seconds


if __name__ == "__main__":
    main()
