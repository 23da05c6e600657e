"""Which ansible-core this is, and which ones were tested."""

from __future__ import annotations

from ansible.module_utils import basic
from ansible.release import __version__

CORE = tuple(int(part) for part in __version__.split(".")[:2])
TESTED = ((2, 16), (2, 21))

# Modules answer with tagged data from here on, and AnsiballZ has profiles.
HAS_PROFILES = CORE >= (2, 19)
VERSION = __version__
# The oldest Python that modules run on; none up to 2.16, where it is as old as any agent's. What an older one can't
# compile may be stock's own wrapper: stock has to run them there.
_MINIMUM = getattr(basic, "_PY_MIN", None)
OLDEST_INTERPRETER = _MINIMUM if isinstance(_MINIMUM, tuple) else ()
