"""Writes names.json, the name lists that the daemon packs and the agent unpacks. Run by hand, rarely, with
an environment that has ansible-core: a change here is a change of the wire format."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import ansible

ROOT = Path(ansible.__file__).parent
ODD = ["a/b/c.py", "a/b/d.py", "a/e.txt", "f.py", "odd,%:\n/=.py", "\u00e4/\u2603.py"]


def paths(folder: str, count: int) -> list[str]:
    """Return the first ``count`` sources of a folder of ansible-core, in the order of their paths."""
    found = sorted(str(path.relative_to(ROOT.parent)) for path in (ROOT / folder).rglob("*.py"))
    return [path for path in found if folder != "modules" or not path.endswith("__init__.py")][:count]


def pack(names: list[str]) -> str:
    """Write a list as docs/protocol.md says."""
    lines = []
    for folder, group in groupby(names, lambda path: path.rpartition("/")[0]):
        stems = [path.rpartition("/")[2] for path in group]
        written = [
            escape(stem[:-3]) if stem.endswith(".py") and stem[0] != "=" else "=" + escape(stem) for stem in stems
        ]
        lines.append(escape(folder) + ":" + ",".join(written))
    return "\n".join(lines)


def escape(text: str) -> str:
    """Write the characters that have a meaning as in a URL."""
    return "".join(f"%{ord(c):02X}" if c in "%,:\n" else c for c in text)


def main() -> None:
    """Write the file beside this one."""
    lists = {"none": [], "odd": ODD, "modules": paths("modules", 52), "module_utils": paths("module_utils", 68)}
    entries = [{"name": name, "paths": names, "packed": pack(names)} for name, names in lists.items()]
    Path(__file__).with_name("names.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
