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
