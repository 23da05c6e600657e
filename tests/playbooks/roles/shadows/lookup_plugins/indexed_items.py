"""In the place of one of ansible-core's, from the moment that the role is there."""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):  # type: ignore[misc]
    """What the loader asks for."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Need the main thread, and tell what a worker is in its session."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return [f"{os.getsid(0) == os.getpid()} {terms}"]
