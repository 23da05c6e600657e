"""Lets ``AnsibleModule.run_command`` start programs by vfork, which is most of a short command's time.

It always passes a ``preexec_fn`` that only sets the umask, if one was asked for; any ``preexec_fn``
keeps CPython (3.10 and later) from using vfork. One that would do nothing is left out.
"""

from __future__ import absolute_import

import sys

PREEXEC = "AnsibleModule.run_command.<locals>.preexec"


def install():
    """Change what ``Popen`` forks by; earlier Pythons have nothing to gain.

    It has returned when a program turns out not to be there, so tracebacks do not show it.
    """
    if sys.version_info < (3, 10):
        return
    import subprocess

    # 3.10 calls it by its own module's name.
    place, name = (subprocess, "_fork_exec") if hasattr(subprocess, "_fork_exec") else (_posixsubprocess(), "fork_exec")
    stock = getattr(place, name)

    def fork_exec(*arguments):
        return stock(*[None if _does_nothing(argument) else argument for argument in arguments])

    setattr(place, name, fork_exec)


def _posixsubprocess():
    import _posixsubprocess

    return _posixsubprocess


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
