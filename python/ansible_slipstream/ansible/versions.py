"""Which ansible-core this is, and which ones were tested."""

from __future__ import annotations

from ansible.release import __version__

CORE = tuple(int(part) for part in __version__.split(".")[:2])
TESTED = ((2, 16), (2, 21))

# Modules answer with tagged data from here on, and AnsiballZ has profiles.
HAS_PROFILES = CORE >= (2, 19)
VERSION = __version__
