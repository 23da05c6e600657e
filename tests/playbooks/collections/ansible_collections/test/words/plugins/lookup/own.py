"""A lookup of a third party."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
    name: own
    short_description: words with the host's name
    description: Private to the tests of Slipstream.
    options:
      mark:
        description: What stands between.
        default: "-"
        vars: [{name: own_mark}]
"""


class LookupModule(LookupBase):  # type: ignore[misc]
    """Returns each term with the host's name behind it."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        """Look the terms up."""
        self.set_options(var_options=variables, direct=kwargs)
        if "forbidden" in terms:
            raise AnsibleError("own lookups find nothing that is forbidden")
        return [f"{term}{self.get_option('mark')}{variables['inventory_hostname']}" for term in terms]
