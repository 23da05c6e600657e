"""An action of a third party that writes to what it was only lent."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """Writes to nested variables: in stock's worker nobody else sees it."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Leave a mark."""
        task_vars["shared"]["left by " + task_vars["inventory_hostname"]] = True
        return {"changed": False, "seen": sorted(task_vars["shared"])}
