"""Stock's strategy; loading it switches Slipstream on."""

from __future__ import annotations

from ansible.plugins.strategy.free import StrategyModule as StockStrategy

from ansible_slipstream.ansible.doors import Disguised, activate

DOCUMENTATION = """
name: free
short_description: The free strategy, many times faster
description:
  - Behaves as P(ansible.builtin.free#strategy); connections and modules are accelerated.
options: {}
"""

activate()


class StrategyModule(Disguised, StockStrategy):  # type: ignore[misc]
    """Nothing differs but the name."""

    stock_name = "free"
