"""The build: maturin, after the daemon's binary and the collection are where it picks them up.

maturin makes one binding a wheel (PyO3/maturin#368), so the daemon's binary is built here and put
into the wheel's data folder, beside the collection for site-packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "build" / "ansible_slipstream.data"
COLLECTION = DATA / "purelib" / "ansible_collections" / "slipstream" / "core"
BINARY = "slipstreamd"

get_requires_for_build_wheel = maturin.get_requires_for_build_wheel
get_requires_for_build_sdist = maturin.get_requires_for_build_sdist
get_requires_for_build_editable = maturin.get_requires_for_build_editable


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    """Build the wheel, with the binary unless SLIPSTREAM_NO_BINARY is set."""
    _stage()
    return str(maturin.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    """Build an editable wheel; the binary and the collection are copies all the same."""
    _stage()
    return str(maturin.build_editable(wheel_directory, config_settings, metadata_directory))


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """Build the source distribution; what the wheel needs beside it is made from it again."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    return str(maturin.build_sdist(sdist_directory, config_settings))


def _stage() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "ansible_plugins", COLLECTION / "plugins", ignore=ignored)
    shutil.copy2(Path(__file__).with_name("galaxy.yml"), COLLECTION)
    if not os.environ.get("SLIPSTREAM_NO_BINARY"):
        command = ["cargo", "build", "--release", "--locked", "--package", "slipstream-daemon"]
        subprocess.run(command, cwd=ROOT, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        scripts = DATA / "scripts"
        scripts.mkdir()
        shutil.copy2(target / "release" / BINARY, scripts / BINARY)
