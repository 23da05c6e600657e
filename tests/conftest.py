"""Options and fixtures that every test shares."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import accounts, web
from kit.interpreters import interpreters
from kit.plays import Play
from kit.runner import MODES
from kit.sshd import Sshd


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the parity suite compare any two modes; stock with stock proves the masks."""
    parser.addoption("--mode-a", choices=MODES, default="stock", help="reference run of the parity suite")
    parser.addoption("--mode-b", choices=MODES, default="slipstream", help="judged run of the parity suite")
    parser.addoption("--keep-runs", type=Path, help="folder for stdout, stderr and events of parity runs")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that ask for `venv` on each folder in SLIPSTREAM_TEST_VENVS; by default on our own."""
    if "venv" in metafunc.fixturenames:
        folders = os.environ.get("SLIPSTREAM_TEST_VENVS", sys.prefix).split(os.pathsep)
        venvs = [Path(folder) for folder in folders if folder]
        metafunc.parametrize("venv", venvs, ids=[venv.name for venv in venvs], scope="session")


@pytest.fixture(scope="session")
def users() -> Iterator[None]:
    """The accounts of `kit.accounts`, removed at the end."""
    with accounts.created():
        yield


@pytest.fixture(scope="session")
def sshd(users: None) -> Iterator[Sshd]:
    """One sshd for the session, with the defaults of the field."""
    with Sshd() as server:
        yield server


@pytest.fixture(scope="session")
def web_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A loopback web server; see `kit.web` for what it serves."""
    with web.serving(tmp_path_factory.mktemp("web")) as url:
        yield url


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every account may enter; pytest's own are closed to all but root."""
    folder = Path(tempfile.mkdtemp(prefix="slip-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def play(venv: Path, sshd: Sshd, open_folder: Path) -> Play:
    """A play of a few lines, for both modes."""
    return Play(venv, sshd, open_folder)


@pytest.fixture(params=sorted(interpreters()))
def interpreter(request: pytest.FixtureRequest) -> str:
    """A target's Python, each that is here."""
    return interpreters()[request.param]


@pytest.fixture(scope="session")
def collections() -> str:
    """The folder with the community's collections; `./dev test` makes it."""
    folder = os.environ.get("SLIPSTREAM_TEST_COLLECTIONS")
    if not folder:
        pytest.skip("SLIPSTREAM_TEST_COLLECTIONS names no folder with the community's collections")
    return folder
