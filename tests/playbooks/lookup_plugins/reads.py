"""Reads a file by the loader that all of the playbook shares."""

from __future__ import annotations

from typing import Any

from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):  # type: ignore[misc]
    """What the loader asks for."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return what is in the files."""
        return [self._loader.load_from_file(term) for term in terms]
