"""Times a warm closure look-up: the client's question, the daemon's answer, the socket between them.

python bench/lookup.py [COUNT]
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from ansible_slipstream.client import Client, Closure
from ansible_slipstream.settings import Settings
from kit import processes


def main() -> None:
    """Print the time of one look-up of a closure with 100 files, and of a status request without work."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as folder:
        client = Client(Settings(state_dir=f"{folder}/state"))
        try:
            lease = Client(Settings(state_dir=f"{folder}/state"))
            lease.ask("lease", run="run")
            files = {f"ansible/module_utils/m{n}.py": b"x = %d\n" % n for n in range(100)}
            digest = hashlib.sha256(b"closure").hexdigest()
            client.store_closure("key", "run", "module", Closure(digest, {"profile": None, "zip": False}), files, [])
            assert client.find_closure("key", "run", "module")
            nothing = per_call(count, lambda: client.ask("stock", reason="none"))
            looked_up = per_call(count, lambda: client.ask("closure_find", key="key", run="run", name="module"))
        finally:
            processes.end_listeners(Path(folder))
    print(f"look-up {looked_up:.1f} us, of which {nothing:.1f} us are the way there and back")


def per_call(count: int, call: object) -> float:
    """Return microseconds."""
    assert callable(call)
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count * 1e6


if __name__ == "__main__":
    main()
