"""The Pythons of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .versions import oldest

_VERSIONS = ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def interpreters() -> dict[str, str]:
    """Return them by version, from pyenv, from the PATH, and the newest from NEWEST_PYTHON (`./dev matrix`)."""
    found = {}
    unpacked = Path(os.environ.get("NEWEST_PYTHON", "/nonexistent"), "usr", "bin")
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for version in _VERSIONS:
        installed = sorted(root.glob(f"{version}.*/bin/python"))
        named = shutil.which(f"python{version}", path=f"/usr/bin:/usr/local/bin:{unpacked}")
        if installed or named:
            found[version] = str(installed[-1]) if installed else str(named)
    return found


def target_python(venv: Path) -> str:
    """Return the targets' interpreter: the system's, that of the version asked for, or the oldest for its modules."""
    wanted = os.environ.get("SLIPSTREAM_TEST_TARGET_PYTHON")
    if not wanted:
        return "/usr/bin/python3"
    return interpreters()[oldest(venv) if wanted == "oldest" else wanted]
