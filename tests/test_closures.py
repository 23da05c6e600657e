"""The daemon's closures against stock's: one module a rule, in a tree of utilities made for them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMPARE = ROOT / "tests" / "conformance" / "compare.py"
DEADLINE_SECONDS = 300

BASIC = "from ansible.module_utils.basic import AnsibleModule\n"
UTILS = "collections/ansible_collections/acme/tools/plugins/module_utils"
FAR = "collections/ansible_collections/acme/far/plugins/module_utils"

# Utilities by path. `mine` is a configured folder, as a role's `module_utils` is.
TREE: dict[str, str | bytes] = {
    "mine/plain.py": "X = 1\n",
    "mine/package/__init__.py": "from .inner import Y\nfrom . import sibling\n",
    "mine/package/inner.py": "from ..plain import X as Y\n",
    "mine/package/sibling.py": "",
    "mine/namespace/inside.py": "",
    "mine/compiled.so": b"\x7fELF",
    "mine/urls.py": "def open_url():\n    pass\n",
    "mine/circle_a.py": "from ansible.module_utils.circle_b import B\nA = 1\n",
    "mine/circle_b.py": "import ansible.module_utils.circle_a\nB = 1\n",
    "mine/broken.py": "def f(:\n",
    "mine/latin.py": "# -*- coding: latin-1 -*-\nNAME = 'caf\xe9'\n".encode("latin-1"),
    "mine/marked.py": "\ufeffX = 1\n",
    "mine/windows.py": "X = 1\r\nfrom ansible.module_utils.plain import X\r\n",
    "mine/fed.py": "\x0cfrom ansible.module_utils.plain import X\n",
    f"{UTILS}/near.py": "from .deep.er import Z\n",
    f"{UTILS}/deep/er.py": "Z = 1\n",
    f"{UTILS}/both.py": "raise Exception('the folder comes first')\n",
    f"{UTILS}/both/inside.py": "",
    f"{UTILS}/up.py": "from ..module_utils import near\n",
    f"{FAR}/away.py": "from ansible_collections.acme.tools.plugins.module_utils.near import Z\n",
    "collections/ansible_collections/acme/tools/meta/runtime.yml": """\
plugin_routing:
  module_utils:
    moved: {redirect: acme.far.away}
    moved.inside: {redirect: ansible_collections.acme.far.plugins.module_utils.away}
    old: {redirect: acme.far.away, deprecation: {removal_version: 9.0.0, warning_text: old}}
    dead: {tombstone: {removal_version: 1.0.0, warning_text: dead}}
    short: {redirect: away}
    nowhere: {redirect: acme.gone.away}
""",
}
OURS = "from ansible_collections.acme.tools.plugins.module_utils"

# Modules by rule: source, then what must come of it.
SAME, FAILS, LEFT = "same", "both fail", "left to stock"
RULES: dict[str, tuple[str, str]] = {
    "core_utility": (BASIC, SAME),
    "import_without_from": ("import ansible.module_utils.basic\nimport ansible.module_utils.plain as p\n", SAME),
    "name_is_a_module": (BASIC + "from ansible.module_utils import plain\n", SAME),
    "name_is_inside_a_module": (BASIC + "from ansible.module_utils.plain import X\n", SAME),
    "package_with_relative_imports": (BASIC + "from ansible.module_utils.package import Y\n", SAME),
    "star": (BASIC + "from ansible.module_utils.plain import *\n", SAME),
    "six_makes_its_own_modules": (BASIC + "from ansible.module_utils.six.moves.urllib.parse import quote\n", SAME),
    "inner_six": (BASIC + "from ansible.module_utils.six import _six\n", LEFT),
    "missing_but_optional": (BASIC + "try:\n    from ansible.module_utils.nothing import x\nexcept E: pass\n", SAME),
    "missing_in_a_function": (BASIC + "def f():\n    import ansible.module_utils.nothing.at.all\n", SAME),
    "missing": (BASIC + "from ansible.module_utils.nothing import x\n", FAILS),
    "both_at_top_and_nested": (
        BASIC + "from ansible.module_utils.none import x\nif 1:\n from ansible.module_utils.none import x\n",
        SAME,
    ),
    "folder_before_core": (BASIC + "from ansible.module_utils.urls import open_url\n", SAME),
    "namespace_package": (BASIC + "from ansible.module_utils.namespace import inside\n", FAILS),
    "namespace_package_alone": (BASIC + "import ansible.module_utils.namespace\n", FAILS),
    "not_source": (BASIC + "from ansible.module_utils.compiled import x\n", FAILS),
    "circle": (BASIC + "from ansible.module_utils.circle_a import A\n", SAME),
    "syntax_error": (BASIC + "from ansible.module_utils.broken import f\n", FAILS),
    "module_with_syntax_error": (BASIC + "def f(:\n", FAILS),
    "latin_1": (BASIC + "from ansible.module_utils.latin import NAME\n", LEFT),
    "byte_order_mark": (BASIC + "from ansible.module_utils.marked import X\n", LEFT),
    "windows_line_ends": (BASIC + "from ansible.module_utils.windows import X\n", SAME),
    "form_feed": (BASIC + "from ansible.module_utils.fed import X\n", SAME),
    "almost_module_utils": (BASIC + "from ansible.module_utilsX import y\n", LEFT),
    "in_a_match_statement": (
        BASIC + "match 1:\n    case 1:\n        from ansible.module_utils.plain import X\n",
        SAME,
    ),
    "collection_utility": (BASIC + f"{OURS}.near import Z\n", SAME),
    "collection_utility_by_import": (BASIC + OURS.replace("from", "import") + ".near\n", SAME),
    "collection_package_without_init": (BASIC + f"{OURS}.deep import er\n", SAME),
    "collection_folder_before_file": (BASIC + f"{OURS}.both import inside\n", SAME),
    "collection_relative_in_utility": (BASIC + f"{OURS}.up import near\n", SAME),
    "collection_other_plugins": (BASIC + f"{OURS.replace('module_utils', 'lookup')} import x\n", SAME),
    "collection_other_plugins_by_import": (
        BASIC + "import ansible_collections.acme.tools.plugins.lookup.x\n",
        FAILS,
    ),
    "collection_itself": (BASIC + "import ansible_collections.acme.tools\n", SAME),
    "collection_of_core": (BASIC + "import ansible_collections.ansible.builtin.plugins.module_utils.basic\n", FAILS),
    "redirect": (BASIC + f"{OURS}.moved import Z\n", SAME),
    "redirect_below": (BASIC + f"{OURS}.moved.inside import Z\n", SAME),
    "redirect_deprecated": (BASIC + f"{OURS}.old import Z\n", LEFT),
    "redirect_removed": (BASIC + f"{OURS}.dead import Z\n", FAILS),
    "redirect_too_short": (BASIC + f"{OURS}.short import Z\n", FAILS),
    "redirect_to_missing_collection": (BASIC + f"{OURS}.nowhere import Z\n", FAILS),
    "missing_collection": (BASIC + f"{OURS.replace('acme', 'nobody')}.x import y\n", FAILS),
    "missing_collection_optional": (
        BASIC + f"try:\n    {OURS.replace('acme', 'nobody')}.x import y\nexcept ImportError:\n    pass\n",
        SAME,
    ),
    "core_redirect_to_missing_collection": (BASIC + "from ansible.module_utils.docker.common import x\n", FAILS),
    "zip_by_cores_respawn": (BASIC + "from ansible.module_utils.facts import packages\n", SAME),
    "zip_by_respawn": (BASIC + "from ansible.module_utils.common.respawn import respawn_module\n", SAME),
}
# In a collection, modules have names, and relative imports mean something.
IN_COLLECTION: dict[str, tuple[str, str]] = {
    "relative": ("from ..module_utils.near import Z\n" + BASIC, SAME),
    "relative_package": ("from ..module_utils import near\n" + BASIC, SAME),
    "relative_missing": ("from ..module_utils.none import Z\n" + BASIC, FAILS),
    "relative_above_everything": ("from ..module_utils import near\nfrom ....... import x\n" + BASIC, SAME),
}
# Before 2.21 there is no such utility; from then on the package does not exist.
EMBED = (BASIC + "from ansible.module_utils.embed import EmbedManager\nx = EmbedManager.embed('a', 'b')\n", FAILS)


def write_tree(folder: Path) -> None:
    """Write utilities, modules and collections below `folder`."""
    files = dict(TREE)
    files |= {f"library/{name}.py": source for name, (source, _) in RULES.items()}
    files["library/embed.py"] = EMBED[0]
    modules = "collections/ansible_collections/acme/tools/plugins/modules"
    files |= {f"{modules}/{name}.py": source for name, (source, _) in IN_COLLECTION.items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture(scope="session")
def answer() -> Path:
    """The scanner as a program."""
    command = ["cargo", "build", "-q", "--release", "--locked", "-p", "slipstream-modgraph", "--example", "answer"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=DEADLINE_SECONDS)
    return ROOT / "target" / "release" / "examples" / "answer"


@pytest.fixture(scope="session")
def verdicts(venv: Path, answer: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The verdict on each rule's module."""
    folder = tmp_path_factory.mktemp("closures")
    write_tree(folder)
    folders = [folder / "library", folder / "collections/ansible_collections/acme/tools/plugins/modules"]
    said = run(venv, answer, "--each", *map(str, folders), folder=folder)
    lines = [line.split("\t") for line in said.splitlines() if "\t" in line]
    return {Path(path).stem: verdict for path, verdict in lines}


def run(venv: Path, answer: Path, *arguments: str, folder: Path) -> str:
    """Return what the comparison printed."""
    command = [str(venv / "bin" / "python"), str(COMPARE), "--answer", str(answer), *arguments]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ANSIBLE_MODULE_UTILS": str(folder / "mine"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert "modules" in done.stdout, done.stderr
    return done.stdout


@pytest.mark.parametrize("rule", [*RULES, *IN_COLLECTION])
def test_rule(verdicts: dict[str, str], rule: str) -> None:
    expected = (RULES | IN_COLLECTION)[rule][1]
    assert verdicts[rule].startswith(expected), verdicts[rule]


def test_embedded_files_are_never_answered_here(verdicts: dict[str, str]) -> None:
    assert verdicts["embed"].startswith(EMBED[1])


def test_every_module_of_core(venv: Path, answer: Path, open_folder: Path) -> None:
    modules = next(venv.glob("lib/python3.*/site-packages/ansible/modules"))
    said = run(venv, answer, str(modules), folder=open_folder)
    print(said)
    assert " 0 fail in both, 0 different, " in said
    # Only dnf of 2.21 embeds a file.
    assert " 0 left to stock" in said or " 1 left to stock {'an import that only" in said
