"""The arrows of docs/architecture.md, on the Python side; deny.toml holds them for the crates."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "python" / "ansible_slipstream"
AGENT = sorted((PACKAGE / "agent").glob("*.py"))
# Names that Python 2.7 or 3.14 lack are imported where they are used, under a check.
STANDARD = sys.stdlib_module_names


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the level (0 is absolute) and the name of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


@pytest.mark.parametrize("path", AGENT, ids=lambda path: path.name)
def test_agent_uses_the_standard_library_only(path: Path) -> None:
    for level, name in imports(path):
        top = name.partition(".")[0]
        inside = level == 1 and name == ""
        # What a module of the closure brings: imported in the module's own process.
        of_the_closure = path.name == "module.py" and top == "ansible"
        assert inside or top in STANDARD or of_the_closure, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", AGENT, ids=lambda path: path.name)
def test_agent_never_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)


def test_only_the_ansible_package_knows_ansible() -> None:
    for path in PACKAGE.glob("*.py"):
        assert not any(name.partition(".")[0] == "ansible" for level, name in imports(path) if level == 0), path


def test_ansible_package_opens_no_sockets_and_starts_no_processes() -> None:
    forbidden = {"socket", "subprocess", "multiprocessing", "asyncio"}
    for path in (PACKAGE / "ansible").rglob("*.py"):
        # Lanes stand for stock's processes, and look after those that stock's code starts in them.
        allowed = {"subprocess", "multiprocessing"} if path.parent.name == "lanes" else set()
        tops = {name.partition(".")[0] for level, name in imports(path) if level == 0}
        assert not tops & (forbidden - allowed), path


def test_plugins_hold_no_logic() -> None:
    plugins = list((ROOT / "ansible_plugins").rglob("*.py"))
    assert len(plugins) == 9
    for path in plugins:
        tree = ast.parse(path.read_text())
        branches = (ast.If, ast.For, ast.While, ast.Try, ast.FunctionDef)
        assert not any(isinstance(node, branches) for node in ast.walk(tree)), path


def test_every_word_of_the_code_is_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    words = "controller target daemon agent link stream ticket closure bundle host run lease start line guardian"
    for word in ["start line", *words.replace(" start line", "").split()]:
        assert f"**{word}**" in glossary, word
