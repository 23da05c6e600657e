"""Options that are kept from task to task are those that stock would resolve anew."""

from __future__ import annotations

import subprocess
from pathlib import Path

COMPARE = Path(__file__).parent / "conformance" / "options.py"
ROUNDS = 10_000
DEADLINE_SECONDS = 300


def test_kept_options_are_those_of_stock(venv: Path, tmp_path: Path) -> None:
    """Keywords, variables, arguments, environment and folder change at random; every answer must be stock's."""
    python = str(venv / "bin/python")
    compared = subprocess.run(
        [python, str(COMPARE), str(ROUNDS)], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert compared.returncode == 0, compared.stdout[-4000:] + compared.stderr
