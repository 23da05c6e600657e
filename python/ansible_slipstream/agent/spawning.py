"""Lets ``AnsibleModule.run_command`` start programs by vfork, which is most of a short command's time.

It always passes a ``preexec_fn`` that only sets the umask, if one was asked for; any ``preexec_fn``
keeps CPython (3.10 and later) from using vfork. One that would do nothing is left out.
"""

from __future__ import absolute_import

import functools
import sys

PREEXEC = "AnsibleModule.run_command.<locals>.preexec"


def install():
    """Change the one private method that starts programs; earlier Pythons have nothing to gain."""
    if sys.version_info < (3, 10):
        return
    import subprocess

    stock = subprocess.Popen._execute_child

    @functools.wraps(stock)
    def _execute_child(self, args, executable, preexec_fn, *rest):
        return stock(self, args, executable, None if _does_nothing(preexec_fn) else preexec_fn, *rest)

    subprocess.Popen._execute_child = _execute_child


def _does_nothing(function):
    """Tell whether it is run_command's own function, without a umask to set."""
    if getattr(function, "__qualname__", "") != PREEXEC:
        return False
    code = function.__code__
    return (
        code.co_freevars == ("umask",)
        and code.co_names == ("os", "umask")
        and not function.__closure__[0].cell_contents
    )
