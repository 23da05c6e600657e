"""Stock's strategy; loading it switches Slipstream on."""

from __future__ import annotations

from ansible.plugins.strategy.host_pinned import StrategyModule as StockStrategy

from ansible_slipstream.ansible.doors import Disguised, activate

DOCUMENTATION = """
name: slipstream_host_pinned
short_description: The host_pinned strategy, many times faster
description:
  - Behaves as P(ansible.builtin.host_pinned#strategy); connections and modules are accelerated.
options: {}
"""

activate()


class StrategyModule(Disguised, StockStrategy):  # type: ignore[misc]
    """Nothing differs but the name."""

    stock_name = "host_pinned"
