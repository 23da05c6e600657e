"""Stock's strategy; loading it switches Slipstream on."""

from __future__ import annotations

from ansible.plugins.strategy.linear import StrategyModule as StockStrategy

from ansible_slipstream.ansible.doors import Disguised, activate

DOCUMENTATION = """
name: slipstream_linear
short_description: The linear strategy, many times faster
description:
  - Behaves as P(ansible.builtin.linear#strategy); connections and modules are accelerated.
options: {}
"""

activate()


class StrategyModule(Disguised, StockStrategy):  # type: ignore[misc]
    """Nothing differs but the name."""

    stock_name = "linear"
