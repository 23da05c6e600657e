"""Results come as late as from stock's workers.

A lane may be done before the next host's turn. Stock's strategy begins the tasks of as many hosts as it has forks
before any of them has ended, and takes what has come after each further host: which facts and failures of its step's
other hosts a host sees depends on that.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any


class Late:
    """Holds back what the lanes of a step have said until stock's workers would have."""

    def __init__(self) -> None:
        # Hosts of this step that have begun.
        self._begun = 0
        self._held: list[tuple[int, Any, Any]] = []

    def begin(self, strategy: Any, task: Any) -> int:
        """Count another host of the step, for which one that began earlier had to end; return its number."""
        if strategy._pending_results == 0:
            self._begun = 0
        self._begun += 1
        if (ended := self._begun - _forks(strategy, task)) > 0:
            self.release(ended)
        return self._begun

    def hold(self, number: int, strategy: Any, result: Any) -> None:
        """Keep the result of a host."""
        self._held.append((number, strategy, result))

    def release(self, last: float = math.inf) -> bool:
        """Let strategies have the results of hosts up to the number ``last``; tell whether there were any."""
        held, self._held = self._held, []
        for number, strategy, result in held:
            if number <= last:
                strategy._results.append(result)
            else:
                self._held.append((number, strategy, result))
        return len(self._held) < len(held)


class Results:
    """Stands for a strategy's results where stock's results loop puts those of a lane."""

    def __init__(self, late: Late, number: int, strategy: Any) -> None:
        self._late, self._number, self._strategy = late, number, strategy

    def append(self, result: Any) -> None:
        """Take a result."""
        self._late.hold(self._number, self._strategy, result)


def _forks(strategy: Any, task: Any) -> int:
    """Return how many hosts run a task at the same time under stock."""
    forks = len(strategy._workers)
    with contextlib.suppress(TypeError, ValueError):
        # Where it is a template there are no lanes.
        if (throttle := int(task.throttle)) > 0:
            forks = min(forks, throttle)
    return forks
