"""The first process of a sandbox: runs one target as ansible-test would, and writes how it ended.

python inside.py SPEC        # a JSON file with the fields of Spec
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import sandbox
from catalogue import Catalogue, Target

OUTPUT = Path("/root/ansible-test/.tmp/output_dir")
TOOLS = Path("/opt/sandbox-bin")
ONLY_ANSIBLE = Path("/opt/sandbox-path")


@dataclass(frozen=True)
class Spec:
    """What to run, and where."""

    name: str
    venv: str
    site: str
    sdist: str
    image: str
    shared: str
    # Of ansible-core, and of the controller's Python.
    version: str
    python: str
    inventory: str
    net: str
    # The account to log in to; one that is not root's becomes root by sudo.
    user: str
    # Variables of the product under test; empty for stock.
    product: dict[str, str]

    def write(self, path: Path) -> None:
        """Write it for the sandbox."""
        path.write_text(json.dumps(asdict(self)))


class Bed:
    """A copy of a target and of all it needs, in a work folder, with an inventory and an ansible.cfg."""

    def __init__(self, spec: Spec, catalogue: Catalogue) -> None:
        self._spec = spec
        self._closure = catalogue.closure(spec.name)
        self._targets = {name: catalogue.targets[name] for name in self._closure}
        base = Path("/root/ansible-test/.tmp/integration")
        base.mkdir(parents=True)
        ascii_only = "no/temp_unicode" in self._targets[spec.name].aliases
        self._top = Path(
            tempfile.mkdtemp(prefix=f"{spec.name}-", suffix="-ansible" if ascii_only else sandbox.SUFFIX, dir=base)
        )
        self._integration = self._top / "test/integration"
        for target in self._targets.values():
            shutil.copytree(target.path, self._integration / "targets" / target.name, symlinks=True)
            for name in target.files_needed():
                self._copy_needed(name)
        self._config = self._integration / "integration.cfg"
        self._config.write_text("[defaults]\nhost_key_checking = False\n")
        (self._integration / "inventory").write_text(self._inventory())
        self._tools()

    def run(self, log: IO[str]) -> tuple[int, float]:
        """Run what must come before, then the target; return its exit code and seconds."""
        target = self._targets[self._spec.name]
        for name in target.named("setup/once/") + target.named("setup/always/"):
            if code := self._run(self._targets[name], log):
                return code, 0.0
        start = time.monotonic()
        code = self._run(target, log)
        return code, round(time.monotonic() - start, 2)

    def _run(self, target: Target, log: IO[str]) -> int:
        shutil.rmtree(OUTPUT, ignore_errors=True)
        OUTPUT.mkdir(parents=True)
        targets = self._integration / "targets"
        folder = targets / target.name if target.script else self._integration
        environment = self._environment(target, folder)
        if target.script:
            if "virtualenv.sh" in (folder / "runme.sh").read_text():
                self._use_any_python(environment)
            return sandbox.execute(["./runme.sh"], folder, environment, log)
        environment["ANSIBLE_ROLES_PATH"] = str(targets)
        gather = "gather_facts/no" not in target.aliases
        play = {"hosts": "testhost", "gather_facts": gather, "vars_files": [], "roles": [target.name]}
        book = self._integration / f"{target.name}-sandbox.yml"
        book.write_text(json.dumps([{**play, "vars": {"output_dir": str(OUTPUT)}}]))
        return sandbox.execute(["ansible-playbook", book.name, "-i", "inventory"], folder, environment, log)

    def _environment(self, target: Target, folder: Path) -> dict[str, str]:
        """Return what ansible-test sets, with the product's variables over it."""
        spec = self._spec
        environment = {
            "LC_ALL": "en_US.UTF-8",
            "HOME": "/root",
            "PYTHONPATH": str(ONLY_ANSIBLE),
            "PATH": f"{spec.venv}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{TOOLS}",
            "PAGER": "/bin/cat",
            "PIP_BREAK_SYSTEM_PACKAGES": "1",
            "ANSIBLE_CALLBACKS_ENABLED": "junit",
            "ANSIBLE_CONFIG": str(self._config),
            "ANSIBLE_DEPRECATION_WARNINGS": "false",
            "ANSIBLE_DEVEL_WARNING": "false",
            "ANSIBLE_DISPLAY_TRACEBACK": "never",
            "ANSIBLE_FORCE_COLOR": "false",
            "ANSIBLE_FORCE_HANDLERS": "true",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_HOST_PATTERN_MISMATCH": "error",
            "ANSIBLE_INVENTORY": "/dev/null",
            "ANSIBLE_INVENTORY_PLUGIN_EXTS": ".yaml, .yml, .json, .winrm, .networking",
            "ANSIBLE_LIBRARY": self._support_modules(),
            "ANSIBLE_PLAYBOOK_DIR": str(folder),
            "ANSIBLE_PYTHON_INTERPRETER": "/set/ansible_python_interpreter/in/inventory",
            "ANSIBLE_PYTHON_MODULE_RLIMIT_NOFILE": str(sandbox.OPEN_FILES),
            "ANSIBLE_RETRY_FILES_ENABLED": "false",
            "ANSIBLE_TEST_ANSIBLE_LIB_ROOT": f"{spec.site}/ansible",
            "ANSIBLE_TEST_ANSIBLE_VERSION": spec.version,
            "ANSIBLE_TEST_CI": "",
            "ANSIBLE_TEST_COVERAGE": "",
            "ANSIBLE_TEST_PYTHON_INTERPRETER": f"{spec.venv}/bin/python",
            "ANSIBLE_TEST_PYTHON_VERSION": spec.python,
            "ANSIBLE_WORKER_SHUTDOWN_POLL_COUNT": "100",
            "ANSIBLE_WORKER_SHUTDOWN_POLL_DELAY": "0.1",
            "INVENTORY_PATH": str(self._integration / "inventory"),
            "JUNIT_OUTPUT_DIR": "/root/ansible-test/junit",
            "JUNIT_REPLACE_OUT_OF_TREE_PATH": "out-of-tree:",
            "JUNIT_TASK_RELATIVE_PATH": str(self._top),
            "OUTPUT_DIR": str(OUTPUT),
        }
        environment.update(target.environment)
        environment.update(spec.product)
        collections = self._collections()
        if collections:
            environment["ANSIBLE_COLLECTIONS_PATH"] = ":".join(collections)
        return environment

    def _collections(self) -> list[str]:
        folders = [self._integration / "targets" / name for name in self._closure]
        inner = "ansible_collections/ansible_test"
        return [str(folder) for folder in folders if (folder / inner / folder.name.replace("-", "_")).is_dir()]

    def _support_modules(self) -> str:
        folder = Path(self._spec.sdist, "test/support/integration/plugins/modules")
        return str(folder) if folder.is_dir() else "/dev/null"

    def _inventory(self) -> str:
        variables = {
            "ansible_connection": "local",
            "ansible_pipelining": "yes",
            "ansible_python_interpreter": f"{self._spec.venv}/bin/python",
        }
        if self._spec.inventory == "ssh":
            options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
            variables.update(
                ansible_connection="ssh",
                ansible_python_interpreter="/usr/bin/python3",
                ansible_host="127.0.0.1",
                ansible_port=str(sandbox.PORT),
                ansible_user=self._spec.user,
                ansible_ssh_private_key_file=str(sandbox.KEY),
                ansible_ssh_extra_args=options,
            )
            if self._spec.user != "root":
                variables["ansible_become"] = "yes"
        return "[testgroup]\ntesthost " + " ".join(f'{key}="{value}"' for key, value in variables.items()) + "\n"

    def _copy_needed(self, name: str) -> None:
        installed = Path(self._spec.site, name.removeprefix("lib/").removeprefix("test/lib/"))
        for source in (Path(self._spec.sdist, name), installed):
            if source.is_file():
                (self._top / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, self._top / name)
                return

    def _tools(self) -> None:
        """Make what ansible-test puts on its paths."""
        ONLY_ANSIBLE.mkdir()
        (ONLY_ANSIBLE / "ansible").symlink_to(Path(self._spec.site, "ansible"))
        TOOLS.mkdir()
        shutil.copy(Path(self._spec.sdist, "test/lib/ansible_test/_util/target/injector/virtualenv.sh"), TOOLS)
        injected = TOOLS / "python.py"
        injected.write_text(f'#!/bin/sh\nexec {self._spec.venv}/bin/python "$@"\n')
        injected.chmod(0o755)

    def _use_any_python(self, environment: dict[str, str]) -> None:
        """Have the commands run by the Python of a virtual environment that the target makes from ours."""
        folder = Path("/opt/sandbox-cli")
        folder.mkdir(exist_ok=True)
        for source in Path(self._spec.venv, "bin").glob("ansible*"):
            copied = folder / source.name
            copied.write_text(re.sub(r"\A#!.*", "#!/usr/bin/env python", source.read_text()))
            copied.chmod(0o755)
        environment["PYTHONPATH"] = self._spec.site
        environment["PATH"] = f"{folder}:{environment['PATH']}"


def _tickets(spec: Spec) -> int:
    """Return how many modules Slipstream has run; 0 where it has no daemon."""
    if not spec.product:
        return 0
    told = subprocess.run([f"{spec.venv}/bin/slipstream", "status", "--json"], capture_output=True, check=False)
    return int(json.loads(told.stdout).get("tickets", 0)) if told.returncode == 0 else 0


def _sessions() -> int:
    text = sandbox.SSHD_LOG.read_text(errors="replace") if sandbox.SSHD_LOG.exists() else ""
    return len(re.findall("^Starting session", text, re.MULTILINE))


def main() -> None:
    """Make the sandbox, run the target in it, end all of it."""
    if os.getpid() != 1:
        sys.exit("inside.py is for the first process of a sandbox: it kills all others")
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text()))
    shared = Path(spec.shared)
    # The interpreter's own files, too: it may be of a pyenv, wherever that is.
    needed = [Path(folder) for folder in (spec.venv, spec.sdist, sys.base_prefix, Path(__file__).parent)]
    sandbox.new_root(shared / "mounts", shared, Path(spec.image), needed)
    if spec.net != "host":
        sandbox.start_network()
    sandbox.start_sshd(everywhere=spec.net != "host")
    if spec.user != "root":
        sandbox.add_login(spec.user)
    sandbox.limit_open_files()
    with (shared / "log").open("w") as log:
        code, seconds = Bed(spec, Catalogue(Path(spec.sdist, "test/integration/targets"))).run(log)
    result = {"code": code, "seconds": seconds, "tickets": _tickets(spec), "cpu": sandbox.end_everything()}
    result["sessions"] = _sessions()
    (shared / "result").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
