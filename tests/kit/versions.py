"""Which ansible-core an environment holds."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path


@functools.cache
def core(venv: Path) -> tuple[int, int]:
    """Return major and minor version, such as (2, 21)."""
    command = [str(venv / "bin" / "python"), "-c", "from ansible.release import __version__; print(__version__)"]
    major, minor = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(".")[:2]
    return int(major), int(minor)


# The oldest Python that each ansible-core's modules run on.
_OLDEST = {(2, 16): "2.7", (2, 17): "3.7", (2, 18): "3.8", (2, 19): "3.8", (2, 20): "3.9", (2, 21): "3.9"}


def oldest(venv: Path) -> str:
    """Return the oldest Python that the modules of a virtual environment's ansible-core run on, such as "3.9"."""
    return _OLDEST[core(venv)]


def runs_on(venv: Path, python: str) -> bool:
    """Tell whether the modules of a virtual environment's ansible-core run on a Python, such as "3.9"."""
    return _parts(python) >= _parts(oldest(venv))


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
