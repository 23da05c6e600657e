"""Compare the daemon's closures with those of stock's own finder, for every module of some folders.

Run by a Python that has ansible-core and Slipstream; prints one line a difference and a summary, and
exits with 1 if there is any difference. What the daemon leaves to stock is counted by its reason.

    python tests/conformance/compare.py --answer target/release/examples/answer [--every N] [--each] [FOLDER...]

Without folders: all modules of this ansible-core, then all of the collections that it finds.
"""

from __future__ import annotations

import argparse
import ast
import collections
import functools
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.executor import module_common
from ansible.plugins import loader
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible_slipstream.ansible.closures import ClosureSource, _Archive
from ansible_slipstream.ansible.ticket import _fqn
from ansible_slipstream.ansible.world import AskStock, collection, world

Json = dict[str, Any]
# Of a hundred modules, at most so many may be left to stock, and fail in both: 5 of ansible's 7,895 fail.
LEFT_MAX, BOTH_FAIL_MAX = 5, 1
# What minifying may take out of a tree.
DOCUMENTATION = ("DOCUMENTATION", "EXAMPLES", "RETURN", "ANSIBLE_METADATA")


@dataclass
class Tally:
    """What was found."""

    modules: int = 0
    same: int = 0
    both_fail: int = 0
    different: int = 0
    left: collections.Counter[str] = field(default_factory=collections.Counter)
    # Of CPU, for ansible-core's own modules.
    stock_seconds: float = 0.0
    our_seconds: float = 0.0
    bytes: int = 0
    smaller: int = 0
    files: set[str] = field(default_factory=set)


class Answers:
    """The daemon's scanner, as a process of its own."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # Of CPU that finding closures has taken, without what this comparison adds.
        self.seconds = 0.0

    def ask(self, question: Json) -> Json:
        """Return the answer to one question."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        answer: Json = json.loads(self._process.stdout.readline())
        return answer

    def closure(self, name: str, path: str, folders: list[str]) -> Json:
        """Return the closure's answer, after telling all that is needed of collections."""
        wanted = world(name, folders, minify=False)
        while True:
            answer = self.ask({"name": name, "path": path, "world": wanted})
            self.seconds += answer["cpu"]
            if "need" not in answer:
                return answer
            wanted["collections"].update({needed: collection(needed) for needed in answer["need"]})

    def end(self) -> None:
        """End it."""
        self._process.communicate()


def main() -> int:
    """Compare, print, and tell by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answer", required=True, help="the example `answer` of slipstream-modgraph")
    parser.add_argument("--every", type=int, default=1, help="take every Nth module of collections only")
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--each", action="store_true", help="print each module's verdict")
    options = parser.parse_args()
    # As the command-line programs do: makes collections importable.
    loader.init_plugin_loader([])
    answers = Answers(options.answer)
    tally = Tally()
    for path, in_core in _modules(
        [folder.absolute() for folder in options.folders or _default_folders()], options.every
    ):
        # Collections have large utilities that many modules share, and stock parses them for each.
        module_common.compile = compile if in_core else _parse_once
        verdict = _compare(path, in_core, answers, tally)
        if options.each or verdict.startswith("different"):
            print(f"{path}\t{verdict}")
    _check_minified(answers, tally)
    answers.end()
    print(
        f"ansible-core {module_common.__version__}: {tally.modules} modules, {tally.same} same, "
        f"{tally.both_fail} fail in both, {tally.different} different, {sum(tally.left.values())} left to stock "
        f"{dict(tally.left)}; CPU of core's {tally.stock_seconds:.2f} s stock, {tally.our_seconds:.2f} s here "
        f"(1/{tally.stock_seconds / max(tally.our_seconds, 0.01):.0f}); "
        f"{len(tally.files)} files minified from {tally.bytes} to {tally.smaller} bytes"
    )
    return 0 if _is_good(tally) else 1


def _is_good(tally: Tally) -> bool:
    """Tell whether nothing differs, and little was not compared: a scanner that leaves all to stock is none."""
    left = 100 * sum(tally.left.values()) <= LEFT_MAX * tally.modules
    few_fail = 100 * tally.both_fail <= BOTH_FAIL_MAX * tally.modules
    return not tally.different and tally.same > 0 and left and few_fail


def _default_folders() -> list[Path]:
    roots = [Path(str(path)) / "ansible_collections" for path in AnsibleCollectionConfig.collection_paths]
    found = [folder for root in roots for folder in sorted(root.glob("*/*/plugins/modules"))]
    return [Path(module_common.__file__).parent.parent / "modules", *found]


# The trees that stock has read last.
_parse_once = functools.lru_cache(1024)(compile)


def _modules(folders: list[Path], every: int) -> Iterator[tuple[str, bool]]:
    """Yield modules, and whether they are ansible-core's."""
    number = 0
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            in_core = folder.parent.name == "ansible"
            number += not in_core
            if in_core or number % every == 0:
                yield str(path), in_core


def _compare(path: str, in_core: bool, answers: Answers, tally: Tally) -> str:
    content = Path(path).read_bytes()
    if not module_common.NEW_STYLE_PYTHON_MODULE_RE.search(content) or module_common._is_binary(content):
        return "not new-style"
    tally.modules += 1
    name = Path(path).stem
    source = ClosureSource(name, path, _fqn(name, path), content, {}, "", False)
    began, ours = time.process_time(), answers.seconds
    files = _stocks_files(source)
    stock_seconds = time.process_time() - began
    try:
        answer = answers.closure(source._fqn, path, source._folders)
    except AskStock as left:
        answer = {"ask": str(left)}
    if in_core:
        tally.stock_seconds += stock_seconds
        tally.our_seconds += answers.seconds - ours
    expected = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    if "ask" in answer and not expected:
        tally.both_fail += 1
        return "both fail"
    if "ask" in answer:
        tally.left[answer["ask"]] += 1
        return f"left to stock: {answer['ask']}"
    if answer["files"] != expected or answer["zip"] != source._needs_zip(files):
        tally.different += 1
        changed = sorted(set(answer["files"].items()) ^ set(expected.items()))
        return f"different: {[file for file, _ in changed][:6]} zip {answer['zip']}"
    tally.same += 1
    tally.files.add(path)
    tally.files.update(_utilities(expected))
    return "same"


def _stocks_files(source: ClosureSource) -> dict[str, bytes]:
    """Return what stock finds, nothing where it fails."""
    archive = _Archive()
    try:
        source._find(archive)
    except Exception:
        # Stock raises what it happens to raise for some modules.
        return {}
    return archive.files


def _utilities(files: dict[str, str]) -> Iterator[str]:
    """Return where the closure's files are on this machine, as far as they are files."""
    roots = [Path(module_common.__file__).parents[2]]
    roots += [Path(str(path)) for path in AnsibleCollectionConfig.collection_paths]
    for file in files:
        yield from (str(root / file) for root in roots if (root / file).is_file())


def _check_minified(answers: Answers, tally: Tally) -> None:
    """Parse what is left of every file: the same statements on the same lines, with the same text."""
    for path in sorted(tally.files):
        text = Path(path).read_bytes().decode()
        small = answers.ask({"minify": path, "python": sys.version_info[:2]})["text"]
        tally.bytes += len(text)
        tally.smaller += len(text if small is None else small)
        if small is not None and not _equal(text, small):
            tally.different += 1
            print(f"{path}: minified to something else")


def _equal(text: str, small: str) -> bool:
    before, after = _Bare().visit(ast.parse(text)), _Bare().visit(ast.parse(small))
    if ast.dump(before, include_attributes=True) != ast.dump(after, include_attributes=True):
        return False
    lines, left = text.split("\n"), small.split("\n")
    shown = {number for node in ast.walk(before) if isinstance(node, ast.stmt) for number in _own_lines(node)}
    kept = all(lines[number - 1] == left[number - 1] for number in shown)
    return (
        kept
        and len(lines) == len(left)
        and all(b.rstrip("\r") in (a.rstrip("\r"), "") for a, b in zip(lines, left, strict=True))
    )


def _own_lines(node: ast.stmt) -> range:
    """Return a statement's lines, of one with others inside it the first."""
    inside = any(isinstance(child, ast.stmt) for child in ast.walk(node) if child is not node)
    return range(node.lineno, node.lineno + 1 if inside else (node.end_lineno or node.lineno) + 1)


class _Bare(ast.NodeTransformer):
    """Takes out all that minifying may take out."""

    def _without_docstring(self, node: Any) -> Any:
        self.generic_visit(node)
        # All strings at the start: without the first, the second would become the docstring.
        while len(node.body) > 1 and _is_text(node.body[0]):
            node.body = node.body[1:]
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _without_docstring

    def visit_Module(self, node: ast.Module) -> Any:
        """Take out the documentation of the whole file."""
        self._without_docstring(node)
        node.body = [statement for statement in node.body if not _is_documentation(statement)]
        return node


def _is_text(statement: ast.stmt) -> bool:
    constant = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)


def _is_documentation(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return False
    target = statement.targets[0]
    return isinstance(target, ast.Name) and target.id in DOCUMENTATION


if __name__ == "__main__":
    assert constants.config
    sys.exit(main())
