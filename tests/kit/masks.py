"""What no two runs have in common: times, process ids, inodes, random names and moving facts.

Each mask keeps the kind of the value, so a time that becomes a text is still seen.
"""

from __future__ import annotations

import re
from typing import Any

# Values that differ whatever they hold, by the name they are stored under.
_FILE_NAMES = {"atime", "ctime", "mtime", "inode"}
_TASK_NAMES = {"start", "end", "delta", "elapsed", "pid", "child_pid", "cache_update_time"}
_FACT_NAMES = {
    "date_time",
    "devices",
    "device_links",
    "entropy_avail",
    "interfaces",
    "loadavg",
    "memfree_mb",
    "memory_mb",
    "mounts",
    "swapfree_mb",
    "uptime_seconds",
}
_NAMES = _FILE_NAMES | _TASK_NAMES | {f"ansible_{name}" for name in _FACT_NAMES}
# Lists in the order of a hash seed or of a folder on disk.
_UNORDERED = {"ansible_virtualization_tech_guest", "ansible_virtualization_tech_host", "directories", "files"}
# ansible-core 2.18 gives `copy: content=` a random name here; other tasks have a real one.
_RANDOM_BASENAME = re.compile(r"\.[a-z0-9_]{8}")
_TEXTS = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4}|Z)?", "TIME"),
        (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "TIME"),
        (r"\b\d+:\d\d:\d\d\.\d{6}\b", "DURATION"),
        (r"(?<=Paused for )\d+\.\d+(?= seconds)", "DURATION"),
        (r"\b0x[0-9a-f]{8,16}\b", "ADDRESS"),
        (r"/dev/pts/\d+", "TERMINAL"),
        (r"ansible-(tmp|moduletmp|local)-[\w.\-]+", "TMP"),
        (r"ansible_[\w.]+_payload_\w+/ansible_[\w.]+_payload\.zip", "PAYLOAD"),
        (r"ansible_[\w.]+_payload_\w+", "PAYLOAD"),
        (r"\bansible\.\w{8}(?=\W|$)", "TEMPFILE"),
        (r"\btmp[a-z0-9_]{8}\b", "TEMPFILE"),
        # Python 2.7's.
        (r"(?<=/)(ansible\.|tmp)\w{6}(?=\W|$)", "TEMPFILE"),
        (r"\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~", "BACKUP"),
        (r"\bj\d{6,14}\.\d+\b", "JOB"),
        (r"(?<=async_wrapper\.py )j\d+\b", "JOB"),
        (r"(?<=\[sudo via ansible, key=)[a-z]+", "ID"),
        (r"(?<=127\.0\.0\.1 )\d+(?= )", "PORT"),
        (r"(?<= )\d+(?= 127\.0\.0\.\d+ \d+)", "PORT"),
        (r"(?<=BECOME-SUCCESS-)[a-z]+", "ID"),
        (r"Fetched [\d,.]+ k?B in \d+s \([\d,.]+ k?B/s\)", "Fetched"),
    )
]


def mask(value: Any, name: str = "") -> Any:
    """Return `value`, found under `name`, without what differs from run to run."""
    if name in _NAMES:
        return _kind(value)
    if isinstance(value, dict):
        if "inode" in value:  # a stat result, in which `version` is the inode's generation
            value = {**value, "version": _kind(value.get("version"))}
        return {key: mask(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        masked = [mask(inner) for inner in value]
        return sorted(masked, key=repr) if name in _UNORDERED else masked
    if name == "_original_basename" and isinstance(value, str) and _RANDOM_BASENAME.fullmatch(value):
        return "<BASENAME>"
    return mask_text(value) if isinstance(value, str) else value


def mask_text(text: str) -> str:
    """Return `text` with each time, random name and port replaced by its kind."""
    for pattern, name in _TEXTS:
        text = pattern.sub(f"<{name}>", text)
    return text


def _kind(value: Any) -> str:
    return f"<{type(value).__name__}>"
