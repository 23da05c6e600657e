#!/usr/bin/python
"""Reports what a module can see of its process, except what names the process itself."""

import gc
import json
import locale
import os
import resource
import signal
import stat
import sys
import tempfile
import threading
import time

from ansible.module_utils.basic import AnsibleModule


def kind_of(descriptor):
    try:
        return [stat.S_IFMT(os.fstat(descriptor).st_mode), os.isatty(descriptor)]
    except OSError as error:
        return str(error)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return oct(mask)


def names_of_ansible():
    # AnsiballZ of 2.19 and later imports the profiles when arguments are read: docs/differences.md.
    names = (name for name in sys.modules if "._json._profiles._module_" not in name)
    return sorted(name for name in names if name.partition(".")[0] in ("ansible", "ansible_collections"))


def main():
    # Before anything of its own has changed it.
    modules, main_module = names_of_ansible(), sys.modules["__main__"]
    descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    module = AnsibleModule(argument_spec={"x": {}}, supports_check_mode=True)
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    with open("/proc/self/status") as status:
        masks = [line for line in status if line.startswith(("SigIgn", "SigBlk", "SigCgt", "NoNewPrivs"))]
    seen = {
        "argv": sys.argv,
        "file": __file__,
        "name": __name__,
        "package": __package__,
        "spec": getattr(globals().get("__spec__"), "name", None),
        "globals": sorted(globals()),
        "main is here": vars(main_module) is globals(),
        "modules": modules,
        "garbage": [gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.callbacks)],
        "path": sys.path,
        "flags": str(sys.flags),
        "executable": sys.executable,
        "version": sys.version,
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "umask": current_umask(),
        "users": os.getresuid(),
        "groups": [os.getresgid(), sorted(os.getgroups())],
        "descriptors": [kind_of(descriptor) for descriptor in range(8)],
        "open": descriptors[:-1],
        "stdin": sys.stdin.read(),
        "streams": [[s.encoding, s.errors, s.line_buffering] for s in (sys.stdin, sys.stdout, sys.stderr)],
        "encodings": [sys.getfilesystemencoding(), locale.getpreferredencoding()],
        "locale": locale.setlocale(locale.LC_ALL),
        "timezone": [time.tzname, time.timezone],
        "threads": threading.active_count(),
        "handlers": {int(s): str(signal.getsignal(s)) for s in signal.Signals if s not in (9, 19)},
        "masks": masks,
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
        "nice": os.nice(0),
        "tmpdir": module.tmpdir,
        "tempdir": tempfile.gettempdir(),
        "recursion": sys.getrecursionlimit(),
        "excepthook": sys.excepthook is sys.__excepthook__,
        "warnoptions": sys.warnoptions,
        "dont_write_bytecode": sys.dont_write_bytecode,
    }
    module.exit_json(changed=False, seen=json.loads(json.dumps(seen, default=str)))


if __name__ == "__main__":
    main()
