"""Interpreter discovery's second question, answered on the target: up to ansible-core 2.18 stock runs a script by the
first Python that it finds, and looks what that tells of the distribution up in a table.

This runs the same script and looks into the same table, so that the agent starts by the Python that stock will choose.
Stock still chooses by itself: where the two disagree, the agent is not used. No module of the agent: a program of its
own, which ends before the agent starts.
"""

from __future__ import absolute_import, division, print_function

import json
import os
import re
import sys


class Said(object):
    """Takes what a script prints."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def main(script, table):
    """Print the path of the Python to use, "-" for this one, and the script's answer; nothing if the script fails.

    ``table`` has for each distribution a dict of versions and paths.
    """
    real, sys.stdout = sys.stdout, Said()
    try:
        exec(compile(script, "<stdin>", "exec", 0, 1), {"__name__": "__main__"})
        answer = sys.stdout.text.strip()
    finally:
        sys.stdout = real
    sys.stdout.write("%s %s\n" % (choose(json.loads(answer), table) or "-", answer))


def choose(platform, table):
    """Return what the table has for the platform, if it can be run here."""
    name, version = _distribution(platform)
    versions = table.get(name.lower().strip())
    if not versions or not version:
        return None
    ours = _numbers(version)
    ranked = sorted(versions, key=_numbers)
    # The newest that is not newer than ours; for what is older than all, the oldest.
    best = ([one for one in ranked if _numbers(one) <= ours] or ranked[:1])[-1]
    path = versions[best]
    return path if os.access(path, os.X_OK) else None


def _distribution(platform):
    told = platform.get("platform_dist_result") or ()
    if len(told) == 3 and any(told):
        return told[0], told[1]
    lines = re.findall(r"""^(ID|VERSION_ID)=["']?([^"'\n]*)""", platform.get("osrelease_content") or "", re.M)
    known = dict(lines)
    return known.get("ID", ""), known.get("VERSION_ID", "")


def _numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)]
