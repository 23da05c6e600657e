"""Modules that tests put into a `library` beside their playbooks."""

from __future__ import annotations

from pathlib import Path

# Ends with an exception that nobody catches.
CRASHER = """
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({})
raise ValueError("crashed")
"""
# Can't be compiled before Python 3.10.
NEWER = """
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({})
match module.params:
    case _:
        module.exit_json(matched=True)
"""
# A utility that can't be compiled before Python 3.10, and a module that imports it.
NEWER_UTILITY = """
def matched(value):
    match value:
        case _:
            return True
"""
USES_NEWER = """
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.newer_utility import matched
module = AnsibleModule({})
module.exit_json(matched=matched(module.params))
"""
# Tells whether a module of the account's own packages can be had.
OWN_PACKAGE = """
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({})
try:
    import slip_word
    module.exit_json(word=slip_word.word)
except ImportError:
    module.exit_json(word="none")
"""
# Holds a lock until its end, which comes late: it takes a while to take a process of that size down.
LOCKER = """
import fcntl
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({"path": {}})
held = open(module.params["path"], "a")
fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
memory = b"x" * (200 << 20)
module.exit_json()
"""
# Says what is open beyond the three standard descriptors.
DESCRIPTORS = """
import os
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({})
def opened(fd):
    try:
        return os.readlink("/proc/self/fd/%d" % fd)
    except OSError:
        return None
module.exit_json(seen=[opened(fd) for fd in range(3, 8)])
"""


def install(folder: Path, name: str, source: str, kind: str = "library") -> None:
    """Make a module, or one of the ``module_utils``, known to the playbooks of a folder."""
    place = folder / kind
    place.mkdir(exist_ok=True)
    (place / f"{name}.py").write_text(source)
