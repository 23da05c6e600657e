"""Where this controller finds utilities: what the daemon has to know to find a closure by itself.

The rules are those of ``ansible.executor.module_common.recursive_finder``; crates/slipstream-modgraph
applies them.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

import ansible
from ansible import constants
from ansible.executor import module_common
from ansible.release import __author__
from ansible.utils.collection_loader import AnsibleCollectionConfig

from ..client import Json
from .versions import CORE, HAS_PROFILES, VERSION

# Modules of 2.19 and later that name no profile, which is all of them unless a hidden setting is on.
PROFILE = "legacy" if HAS_PROFILES else None
# Utilities that every module gets.
ALWAYS = ["ansible.module_utils.basic"]
if HAS_PROFILES:
    ALWAYS += [
        "ansible.module_utils._internal._ansiballz._loader",
        "ansible.module_utils._internal._json._profiles._module_legacy_c2m",
        "ansible.module_utils._internal._json._profiles._module_legacy_m2c",
    ]
# ansible-core's own, as its plugin loader has it, too.
CORE_UTILS_FOLDER = os.path.normpath(module_common._MODULE_UTILS_PATH)
# Files that AnsiballZ writes itself.
_EXTEND = "from pkgutil import extend_path\n__path__=extend_path(__path__,__name__)\n"
GIVEN = {
    "ansible/__init__.py": f'{_EXTEND}__version__="{VERSION}"\n__author__="{__author__}"\n',
    "ansible/module_utils/__init__.py": _EXTEND,
}
# True of no file: what depends on it is never found in the cache.
NEVER = {"path": "/", "ctime_ns": 0, "size": 0}
BUILTIN_ROUTING = os.path.join(os.path.dirname(ansible.__file__), "config", "ansible_builtin_runtime.yml")
# A file that changed after this may have been read before; clocks of file systems lag a little.
_READ_SINCE_NS = time.time_ns() - 1_000_000_000

_collections: dict[str, Json] = {}


class AskStock(Exception):
    """Only stock's finder can tell."""


class Listening:
    """Notices whether stock displays anything, and lets it through."""

    WORDS = ("deprecated", "warning")

    def __init__(self) -> None:
        self.heard = False

    def __enter__(self) -> Listening:
        for word in self.WORDS:
            setattr(module_common.display, word, self._wrap(getattr(module_common.display, word)))
        return self

    def __exit__(self, *_exc: object) -> None:
        for word in self.WORDS:
            delattr(module_common.display, word)

    def _wrap(self, method: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.heard = True
            return method(*args, **kwargs)

        return noted


def modules_name_profiles() -> bool:
    """Tell whether the hidden setting is on by which a module's own text chooses its profile."""
    return HAS_PROFILES and bool(constants.config.get_config_value("_MODULE_METADATA"))


def world(fqn: str, folders: list[str], minify: bool) -> Json:
    """Return what the daemon has to know to find the closure of the module named ``fqn``.

    Raises:
        AskStock: it can't be told, or it would not be enough.
    """
    if modules_name_profiles():
        raise AskStock("modules name their profiles")
    if not _is_text(fqn, *folders):
        raise AskStock("a path is not UTF-8")
    names = ["ansible.builtin"]
    if fqn.startswith("ansible_collections."):
        names.append(".".join(fqn.split(".")[1:3]))
    return {
        "folders": [*folders, CORE_UTILS_FOLDER],
        "collections": {name: collection(name) for name in names},
        "always": ALWAYS,
        "given": GIVEN,
        "match_cases": CORE < (2, 21),
        "python": sys.version_info[:2],
        "minify": minify,
    }


def collection(name: str) -> Json:
    """Return what the daemon has to know of a collection; looked up once, as stock imports it once.

    Raises:
        AskStock: it is there and can't be loaded.
    """
    if name not in _collections:
        with Listening() as listening:
            found = _look_up(name)
        if listening.heard:
            # It has to be said in every run.
            found["stamps"].append(NEVER)
        _collections[name] = found
    return _collections[name]


def stamp(path: str) -> Json:
    """Return how a file or folder looks, in the daemon's words; ``NEVER`` if this process may know an older one."""
    try:
        found = os.stat(path)
    except OSError:
        return {"path": path, "ctime_ns": -1, "size": 0}
    if found.st_ctime_ns > _READ_SINCE_NS:
        return NEVER
    size = 0 if os.path.isdir(path) else found.st_size
    return {"path": path, "ctime_ns": found.st_ctime_ns, "size": size}


def _look_up(name: str) -> Json:
    try:
        routing = module_common._get_collection_metadata(name).get("plugin_routing") or {}
        routes = {below: _target(entry) for below, entry in (routing.get("module_utils") or {}).items() if entry}
    except ValueError:
        return {"installed": False, "root": None, "routes": {}, "stamps": _folders(name)}
    except Exception as error:
        raise AskStock(f"collection {name} can't be loaded") from error
    if name == "ansible.builtin":
        return {"installed": True, "root": None, "routes": routes, "stamps": [stamp(BUILTIN_ROUTING)]}
    file = importlib.import_module(f"ansible_collections.{name}").__file__
    if not file or not os.path.isabs(file) or not _is_text(file):
        raise AskStock(f"collection {name} is in no folder")
    root = os.path.dirname(file)
    stamps = [*_folders(name), stamp(f"{root}/meta/runtime.yml")]
    return {"installed": True, "root": root, "routes": routes, "stamps": stamps}


def _target(entry: Any) -> str | None:
    """Return the full name that a utility is redirected to; None where stock has something to say."""
    if not isinstance(entry, dict) or entry.get("tombstone") is not None or entry.get("deprecation"):
        return None
    target = entry.get("redirect")
    if not isinstance(target, str):
        return None
    if target.startswith("ansible_collections"):
        return target
    parts = target.split(".")
    if len(parts) < 3:
        return None
    return f"ansible_collections.{parts[0]}.{parts[1]}.plugins.module_utils.{'.'.join(parts[2:])}"


def _is_text(*values: str) -> bool:
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return False
    return True


def _folders(name: str) -> list[Json]:
    """Return how the folders look in which a collection is searched for."""
    namespace = name.partition(".")[0]
    roots = [os.path.join(str(path), "ansible_collections") for path in AnsibleCollectionConfig.collection_paths]
    return [stamp(path) for root in roots for path in (root, os.path.join(root, namespace))]
