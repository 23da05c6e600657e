#!/usr/bin/python
"""Reports what a module can see of its process, except what names the process itself."""

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


def main():
    module = AnsibleModule(argument_spec={"x": {}}, supports_check_mode=True)
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    with open("/proc/self/status") as status:
        masks = [line for line in status if line.startswith(("SigIgn", "SigBlk", "SigCgt", "NoNewPrivs"))]
    seen = {
        "argv": sys.argv,
        "file": __file__,
        "name": __name__,
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
