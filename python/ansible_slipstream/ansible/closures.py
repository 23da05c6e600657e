"""A module's closure: cached by the daemon, found by the daemon, or as stock's own finder sees it.

Stock's finder costs 0.15 to 0.7 s of CPU per module, so it is asked only for what the daemon leaves to
it: utilities that are missing or deprecated, embedded files, source of an odd kind. Every answer holds
as long as each file that it was made of, or that could have taken a file's place, looks the same.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import sys
import time
from typing import Any

from ansible.executor import module_common
from ansible.plugins.loader import module_utils_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

from ..client import Client, Closure, Json, ScanRequest
from .lanes import baton
from .versions import HAS_PROFILES, VERSION
from .world import (
    CORE_UTILS_FOLDER,
    NEVER,
    PROFILE,
    AskStock,
    Listening,
    collection,
    modules_name_profiles,
    stamp,
    world,
)

# Modules that hand AnsiballZ's zip to another interpreter, or look into it, need a real one.
ZIP_MARKS = (
    b"respawn",
    b"_modlib_path",
    b"PYTHONPATH",
    b"ProcessPool",
    b"multiprocessing.Process",
    b"multiprocessing.Pool",
    b"multiprocessing.Manager",
    b"multiprocessing.get_context",
    b"multiprocessing import",
    b"multiprocessing as",
    b"pkgutil",
    b"importlib.resources",
    b"importlib_resources",
    b"zipimport",
    b"iter_modules",
    b"getsource",
    b"__loader__.",
)
# So do those that import these, a utility of ansible-core's too: another interpreter, and files of the closure,
# whatever they are named.
ZIP_UTILS = ("ansible/module_utils/common/respawn.py", "ansible/module_utils/embed.py")
CORE_UTILS = "ansible/module_utils/"
CORE_PACKAGE = "ansible/__init__.py"


class ClosureSource:
    """Computes one module's closure and stores it again if the daemon has dropped it."""

    def __init__(self, name: str, path: str, fqn: str, content: bytes, task_vars: Json, run: str, minify: bool) -> None:
        self._name = name
        self._path = path
        self._fqn = fqn
        self._content = content
        self._task_vars = task_vars
        self._run = run
        self._minify = minify
        self._folders = [str(p) for p in module_utils_loader._get_paths(subdirs=False) if os.path.isdir(p)]
        self.key = self._make_key()

    def get(self, client: Client) -> Closure:
        """Return the closure from the daemon's cache, or have it found.

        Raises:
            AnsibleError: as stock does when a utility can't be found.
        """
        return client.find_closure(self.key, self._run, self._fqn) or self.compute(client)

    def compute(self, client: Client) -> Closure:
        """Have the closure found, and stored by the daemon.

        Raises:
            AnsibleError: as stock does when a utility can't be found.
        """
        return self._scan(client) or self._ask_stock(client)

    def _scan(self, client: Client) -> Closure | None:
        try:
            wanted = world(self._fqn, self._folders, self._minify)
            request = ScanRequest(self.key, self._run, self._fqn, {"profile": PROFILE}, wanted, self._content)
            return client.scan_closure(request, collection)
        except AskStock:
            return None

    def _ask_stock(self, client: Client) -> Closure:
        archive = _Archive()
        with Listening() as listening:
            profile = self._find(archive)
        meta = {"profile": profile, "zip": self._needs_zip(archive.files)}
        names = {path: hashlib.sha256(data).hexdigest() for path, data in archive.files.items()}
        digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()
        stamps = self._stamps(archive.files)
        if listening.heard:
            # What the finder says (deprecations) has to be said in every run: never found in the cache.
            stamps.append(NEVER)
        closure = Closure(digest, meta)
        baton.excuse()
        client.store_closure(self.key, self._run, self._fqn, closure, archive.files, stamps)
        return closure

    def _make_key(self) -> str:
        parts = [VERSION, sys.version, sys.prefix, self._name, self._path, self._fqn, self._folders, self._minify]
        parts += [CORE_UTILS_FOLDER, modules_name_profiles()]
        parts += [[str(path) for path in AnsibleCollectionConfig.collection_paths]]
        return hashlib.sha256(json.dumps(parts).encode() + self._content).hexdigest()

    def _find(self, archive: _Archive) -> str | None:
        if not HAS_PROFILES:
            legacy_date = time.gmtime()[:6]
            module_common.recursive_finder(self._name, self._fqn, self._content, archive, legacy_date)
            module_common._add_module_to_zip(archive, legacy_date, self._fqn, self._content)
            return None
        from ansible._internal._ansiballz import _builder
        from ansible._internal._datatag._tags import Origin

        extensions = _builder.ExtensionManager.create(task_vars=self._task_vars)
        date = datetime.datetime.now(datetime.timezone.utc)
        tagged = Origin(path=self._path).tag(self._content)
        found = module_common.recursive_finder(self._name, self._fqn, tagged, archive, date, extensions)
        module_common._add_module_to_zip(archive, date, self._fqn, self._content, self._path, extensions)
        return str(found.serialization_profile)

    def _needs_zip(self, files: dict[str, bytes]) -> bool:
        if any(path in files for path in ZIP_UTILS) or not all(path.endswith(".py") for path in files):
            return True
        if any(mark in self._content for mark in ZIP_MARKS):
            return True
        others = (data for path, data in files.items() if not self._is_cores(path))
        return any(mark in data for data in others for mark in ZIP_MARKS)

    def _is_cores(self, name: str) -> bool:
        """Tell whether a file of the closure comes with ansible-core; one from elsewhere may have such a name."""
        if name.startswith(CORE_UTILS):
            taken = self._candidates(name[len(CORE_UTILS) :])[-1]
            return taken.startswith(CORE_UTILS_FOLDER + os.sep)
        return name == CORE_PACKAGE

    def _stamps(self, files: dict[str, bytes]) -> list[Json]:
        paths: set[str] = set()
        for name in files:
            if name.startswith(CORE_UTILS):
                paths.update(self._candidates(name[len(CORE_UTILS) :]))
            elif name.startswith("ansible_collections/"):
                paths.update(_collection_files(name))
        # A collection that is installed later may bring an optional utility.
        for folder in AnsibleCollectionConfig.collection_paths:
            paths.add(os.path.join(str(folder), "ansible_collections"))
        return [stamp(path) for path in sorted(paths)]

    def _candidates(self, relative: str) -> list[str]:
        """Return the files that stock looks at for a utility, up to the one it takes."""
        stem = relative.removesuffix("/__init__.py").removesuffix(".py")
        looked_at = []
        for folder in [*self._folders, CORE_UTILS_FOLDER]:
            for path in (f"{folder}/{stem}/__init__.py", f"{folder}/{stem}.py"):
                looked_at.append(path)
                if os.path.exists(path):
                    return looked_at
        return looked_at


class _Archive:
    """Takes what the finder writes into its zip."""

    compression = 0

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def writestr(self, name: Any, data: bytes | str, *_ignored: Any) -> None:
        path = getattr(name, "filename", name)
        self.files[path] = data if isinstance(data, bytes) else data.encode()

    def namelist(self) -> list[str]:
        return list(self.files)

    def mkdir(self, *_ignored: Any) -> None:
        """Folders are not needed: the importer knows them from the files."""


def _collection_files(name: str) -> list[str]:
    """Return the source of a collection's file, and the routing that may redirect it."""
    parts = name.split("/")
    if len(parts) < 4:
        return []
    package = sys.modules.get(".".join(parts[:3]))
    roots = [str(path) for path in getattr(package, "__path__", [])]
    below = "/".join(parts[3:])
    return [f"{root}/{path}" for root in roots for path in (below, "meta/runtime.yml")]
