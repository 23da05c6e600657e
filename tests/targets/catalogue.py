"""What a source distribution of ansible-core has of integration targets, as its own test runner reads them.

Facts from ``ansible_test/_internal/target.py``: a target is a folder below ``test/integration/targets``, its
``aliases`` file says how it wants to be run, and it needs what its aliases, links and role dependencies name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

RUN_ON_CONTROLLER = ("lookup_", "filter_", "test_", "callback_", "inventory_", "strategy_", "connection_")
HELPERS = ("setup_", "prepare_")


@dataclass(frozen=True)
class Target:
    """One folder of targets."""

    name: str
    path: Path
    aliases: tuple[str, ...]
    # It is run by its ``runme.sh``, not as a role.
    script: bool

    @classmethod
    def at(cls, path: Path) -> Target:
        """Read the folder ``path``."""
        file = path / "aliases"
        lines = file.read_text().splitlines() if file.is_file() else []
        aliases = (re.sub(r"\s*#.*", "", line).strip() for line in lines)
        return cls(path.name, path, tuple(filter(None, aliases)), (path / "runme.sh").is_file())

    @property
    def hidden(self) -> bool:
        """Others use it; it is no test."""
        return "hidden" in self.aliases or self.name.startswith(HELPERS)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that it asks for."""
        found = (re.match(r"env/set/([^/]+)/(.*)", alias) for alias in self.aliases)
        return {match[1]: match[2] for match in found if match}

    def named(self, prefix: str) -> list[str]:
        """Return the targets that its aliases name after ``prefix``."""
        return sorted({a[len(prefix) :].split("/")[0] for a in self.aliases if a.startswith(prefix)})

    def files_needed(self) -> list[str]:
        """Return files outside the targets, relative to the distribution."""
        return [alias[len("needs/file/") :] for alias in self.aliases if alias.startswith("needs/file/")]

    def linked(self, root: Path) -> set[str]:
        """Return the targets below ``root`` that links in this one lead to."""
        links = (path.resolve() for path in self.path.rglob("*") if path.is_symlink())
        return {link.relative_to(root).parts[0] for link in links if link.is_relative_to(root)}

    def dependencies(self, roles: list[str]) -> set[str]:
        """Return those of ``roles`` that its ``meta`` folder names."""
        found: set[str] = set()
        for path in self.path.glob("meta/*"):
            text = path.read_text(errors="replace") if path.is_file() else ""
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
            found.update(role for role in roles if any(role in line for line in lines))
        return found


@dataclass
class Catalogue:
    """All targets of one source distribution."""

    root: Path
    targets: dict[str, Target] = field(init=False)

    def __post_init__(self) -> None:
        """Read the folders."""
        self.root = self.root.resolve()
        folders = sorted(path for path in self.root.iterdir() if path.is_dir())
        self.targets = {path.name: Target.at(path) for path in folders}

    def closure(self, name: str) -> list[str]:
        """Return the target and all that it needs, each once."""
        roles = [target.name for target in self.targets.values() if target.hidden and not target.script]
        seen: set[str] = set()
        todo = [name]
        while todo:
            target = self.targets.get(todo.pop())
            if target is None or target.name in seen:
                continue
            seen.add(target.name)
            for prefix in ("setup/always/", "setup/once/", "needs/target/"):
                todo += target.named(prefix)
            todo += target.linked(self.root) | target.dependencies(roles)
        return sorted(seen)


@dataclass(frozen=True)
class Entry:
    """A line of a list: ``NAME [inv=local] [net=host] [ci]``."""

    name: str
    # ``local`` where a target passes only so under stock; else all go over ssh.
    inventory: str = "ssh"
    # ``host`` for those that need a package mirror.
    net: str = "private"
    # The gate runs it.
    ci: bool = False


def read_list(text: str) -> list[Entry]:
    """Parse a list; ``#`` begins a comment."""
    entries = []
    for line in text.splitlines():
        name, *words = line.split("#")[0].split() or [""]
        options = dict(word.partition("=")[::2] for word in words)
        if unknown := set(options) - {"inv", "net", "ci"}:
            raise ValueError(f"{name}: unknown option {', '.join(sorted(unknown))}")
        if name:
            entries.append(Entry(name, options.get("inv", "ssh"), options.get("net", "private"), "ci" in options))
    return entries
