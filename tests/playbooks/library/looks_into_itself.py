#!/usr/bin/python
"""Looks at its own files in every way that Python has."""

import importlib.util
import inspect
import os
import pkgutil
import sys

from ansible.module_utils import slip_deep
from ansible.module_utils.basic import AnsibleModule


def shape(path):
    """Leave out what no two runs share."""
    base = [entry for entry in sys.path if entry.endswith(".zip") and "payload" in entry][0]
    return path.replace(os.path.dirname(base), "FOLDER")


def resources():
    """Read a file of a package as importlib.resources gives it."""
    if sys.version_info < (3, 9):
        return None
    import importlib.resources

    folder = importlib.resources.files("ansible.module_utils")
    return [len((folder / "slip_deep.py").read_text()), sorted(entry.name for entry in folder.iterdir())]


def main():
    module = AnsibleModule(argument_spec={})
    import ansible.module_utils as package

    spec = importlib.util.find_spec("ansible.module_utils.slip_deep")
    missing = importlib.util.find_spec("ansible.module_utils.no_such")
    module.exit_json(
        source=inspect.getsource(slip_deep.Well),
        documented=slip_deep.look.__doc__,
        data=len(pkgutil.get_data("ansible.module_utils", "slip_deep.py")),
        names=sorted(name for _, name, _ in pkgutil.iter_modules(package.__path__)),
        file=shape(slip_deep.__file__),
        path=[shape(entry) for entry in package.__path__],
        origin=shape(spec.origin),
        loader=type(spec.loader).__name__,
        missing=missing,
        resources=resources(),
    )


if __name__ == "__main__":
    main()
