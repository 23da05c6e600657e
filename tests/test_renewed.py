"""Libraries, settings and virtual environments that a play renews: what runs after that has to fit to the new ones."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_slipstream.agent import fingerprint
from kit.plays import Play
from kit.runner import Run

SYSTEM_PYTHON = "/usr/bin/python3"
# Loads a library as packages do that are loaded at the start of an interpreter.
AT_THE_START = "import ctypes\nctypes.CDLL('{library}', ctypes.RTLD_GLOBAL)\n"
# The second library needs what only the new first one has.
FIRST = "int version(void) { return %d; }\n%s\n"
SECOND = "int of_the_new(void); int second(void) { return of_the_new(); }\n"
LOADS = """\
import ctypes
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({'library': {}})
module.exit_json(has=ctypes.CDLL(module.params['library']).second())
"""
ALLOWS = """\
import hashlib
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({})
try:
    module.exit_json(allowed=bool(hashlib.new('md4', b'')))
except ValueError:
    module.exit_json(allowed=False)
"""
SEES = """\
import sys
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({})
module.exit_json(sees=any('dist-packages' in path for path in sys.path), word=getattr(sys, 'word', None))
"""
SETTINGS = """\
openssl_conf = openssl
[openssl]
providers = providers
[providers]
default = always
{legacy}
[always]
activate = 1
"""
LEGACY = "legacy = legacy\n[legacy]\nactivate = 1\n"


def said(run: Run, key: str) -> list[object]:
    return [event.result[key] for event in run.events if key in event.result]


def build(folder: Path, name: str, source: str, *options: str) -> None:
    command = ["cc", "-shared", "-fPIC", "-o", str(folder / name), "-x", "c", "-", *options]
    subprocess.run(command, input=source, text=True, check=True)


@pytest.fixture
def environment(open_folder: Path) -> Path:
    """A virtual environment of the system's Python."""
    place = open_folder / "venv"
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", str(place)], check=True)
    return place


def at_the_start(environment: Path) -> Path:
    """Return a module, to be written, that its interpreter imports as it starts."""
    (folder,) = environment.glob("lib/python3*/site-packages")
    (folder / "start.pth").write_text("import at_the_start\n")
    return folder / "at_the_start.py"


def test_library_is_upgraded(play: Play, open_folder: Path, environment: Path) -> None:
    """An agent has it mapped; a module loads another library of the same package."""
    old, new, lib = (open_folder / name for name in ("old", "new", "lib"))
    for folder in (old, new, lib):
        folder.mkdir()
    build(old, "libfirst.so", FIRST % (1, ""))
    build(new, "libfirst.so", FIRST % (2, "int of_the_new(void) { return 2; }"))
    build(new, "libsecond.so", SECOND, f"-L{new}", "-lfirst", f"-Wl,-rpath,{lib}")
    at_the_start(environment).write_text(AT_THE_START.format(library=lib / "libfirst.so"))
    play.file("library/loads.py", LOADS)
    tasks = f"""\
- {{raw: "rm -f {lib}/*; cp {old}/* {lib}/"}}
- vars: {{ansible_python_interpreter: {environment}/bin/python}}
  block:
    - ping:
    - copy: {{src: "{new}/{{{{ item }}}}", dest: "{lib}/{{{{ item }}}}", remote_src: true}}
      loop: [libfirst.so, libsecond.so]
    - loads: {{library: {lib}/libsecond.so}}
"""
    assert said(play.compare("root", tasks), "has") == [2]


@pytest.mark.parametrize("way", ["its own file", "a file that it includes"])
def test_settings_of_openssl(play: Play, open_folder: Path, way: str) -> None:
    """What it allows is decided when it is loaded, which an agent has done."""
    settings, included = open_folder / "openssl.cnf", open_folder / "included.cnf"
    if way == "its own file":
        changed, before, after = settings, SETTINGS.format(legacy=""), SETTINGS.format(legacy=LEGACY)
    else:
        settings.write_text(SETTINGS.format(legacy=f".include {included}"))
        changed, before, after = included, "", LEGACY
    play.file("library/allows.py", ALLOWS)
    tasks = f"""\
- copy: {{dest: {changed}, content: {json.dumps(before)}}}
- vars: {{ansible_python_interpreter: {SYSTEM_PYTHON}}}
  environment: {{OPENSSL_CONF: {settings}}}
  block:
    - allows:
    - copy: {{dest: {changed}, content: {json.dumps(after)}}}
    - allows:
"""
    assert said(play.compare("root", tasks), "allowed") == [False, True]


def test_virtual_environment_sees_the_systems_packages(play: Play, environment: Path) -> None:
    play.file("library/sees.py", SEES)
    change = f"path: {environment}/pyvenv.cfg, regexp: ^include-system, line: include-system-site-packages"
    tasks = f"""\
- {{raw: "sed -i s/^include-system.*/include-system-site-packages=false/ {environment}/pyvenv.cfg"}}
- vars: {{ansible_python_interpreter: {environment}/bin/python}}
  block:
    - sees:
    - lineinfile: {{{change} = true}}
    - sees:
"""
    assert said(play.compare("root", tasks), "sees") == [False, True]


def test_what_runs_at_the_start_of_an_interpreter(play: Play, open_folder: Path, environment: Path) -> None:
    """A link, as an administrator may have it: neither it nor its folder changes."""
    elsewhere = open_folder / "customize.py"
    at_the_start(environment).symlink_to(elsewhere)
    play.file("library/sees.py", SEES)
    tasks = f"""\
- {{raw: "echo 'import sys; sys.word = 1' > {elsewhere}"}}
- vars: {{ansible_python_interpreter: {environment}/bin/python}}
  block:
    - sees:
    - copy: {{dest: {elsewhere}, content: "import sys; sys.word = 22\\n"}}
    - sees:
"""
    assert said(play.compare("root", tasks), "word") == [1, 22]


WATCHES = """\
import ctypes, json, os, sys
library, source = sys.argv[1:]
ctypes.CDLL(library)
names = {"__name__": "fingerprint"}
exec(compile(open(source).read(), source, "exec"), names)
found = names["Fingerprint"]()
assert found.changed() is None, found.changed()
os.rename(library + ".new", library)
assert found.changed() == repr(library), found.changed()
# As the daemon gets to read it.
json.loads(json.dumps(found.changed())).encode("utf-8")
"""


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_library_in_a_folder_of_any_name(interpreter: str, open_folder: Path, locale: str) -> None:
    """As a Python of one's own below a home: its paths are no ASCII, and the login has no such locale."""
    folder = open_folder / "jürgen"
    folder.mkdir()
    for name in ("libfirst.so", "libfirst.so.new"):
        build(folder, name, FIRST % (1, ""))
    command = [interpreter, "-c", WATCHES, str(folder / "libfirst.so"), fingerprint.__file__]
    subprocess.run(command, env={"LC_ALL": locale}, check=True)
