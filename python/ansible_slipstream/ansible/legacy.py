"""What AnsiballZ of ansible-core 2.18 and earlier shows of itself in tracebacks."""

from __future__ import annotations

import functools

from ansible.executor import module_common


@functools.cache
def traceback_lines(with_rlimit: bool) -> list[int]:
    """Return the lines of the wrapper's three frames: run_module, invoke_module, _ansiballz_main.

    Taken from the version's own template, as it is after stock has filled it in.
    """
    fields = dict.fromkeys(("zipdata", "ansible_module", "module_fqn", "params", "shebang", "date_time"), "0")
    rlimit = module_common.ANSIBALLZ_RLIMIT_TEMPLATE % {"rlimit_nofile": 1} if with_rlimit else ""
    coding = module_common.ENCODING_STRING
    template = module_common.ACTIVE_ANSIBALLZ_TEMPLATE
    text = template % {**fields, "coding": coding, "coverage": "", "rlimit": rlimit}
    lines = text.splitlines()
    return [
        _line(lines, "runpy.run_module(", after="def invoke_module"),
        _line(lines, "invoke_module(zipped_mod"),
        _line(lines, "_ansiballz_main()", after="if __name__"),
    ]


def _line(lines: list[str], mark: str, after: str = "") -> int:
    start = next((n for n, line in enumerate(lines) if after in line), 0)
    return next(n for n, line in enumerate(lines) if n >= start and mark in line) + 1
