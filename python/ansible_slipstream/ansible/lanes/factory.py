"""Gives the strategy a lane or a worker process for each host and task."""

from __future__ import annotations

import functools
import inspect
import time
from typing import Any

from ansible.plugins import strategy as strategy_plugins
from ansible.utils.display import Display

from . import isolation
from .baton import Baton
from .choice import Choice, forget_delegates, is_known_strategy
from .endings import watch_ends_of_plays
from .found import divide_what_is_found
from .lane import Lane
from .late import Late, Results
from .moving import watch_filters, watch_lookups
from .news import LONGEST_FREE_WAIT_S, LONGEST_WAIT_S, News, StrategyTime, watch
from .plugins import forget_what_changed, watch_loaders
from .shard import Gathering, ShardLane, processors
from .warned import watch_warnings

display = Display()


class Factory:
    """Takes the place of ``WorkerProcess`` in the strategies."""

    def __init__(self, stock_worker: Any, enabled: bool, shards: int | None) -> None:
        self._stock_worker = stock_worker
        self._enabled = enabled
        self._names = tuple(inspect.signature(stock_worker.__init__).parameters)[1:]
        self._strategy: Any = None
        # The task that was given a process or a lane last.
        self._task: str | None = None
        self._baton = Baton()
        self._news = News()
        self._choice = Choice(processors())
        self._late = Late()
        self._gathering = Gathering(stock_worker, shards, self._news)

    def install(self) -> None:
        """Watch strategies from their first task on, and divide lanes from each other."""
        self._note_strategies()
        watch_loaders()
        if self._enabled:
            isolation.install()
            watch_lookups()
            watch_filters()
            watch_ends_of_plays()
            divide_what_is_found()
            watch_warnings()

    def _note_strategies(self) -> None:
        stock_queue_task = strategy_plugins.StrategyBase._queue_task

        @functools.wraps(stock_queue_task)
        def queue_task(strategy: Any, *args: Any, **kwargs: Any) -> Any:
            self._strategy = strategy
            self._watch_sleeps(type(strategy))
            watch(strategy, self._news)
            return stock_queue_task(strategy, *args, **kwargs)

        strategy_plugins.StrategyBase._queue_task = queue_task

    def _watch_sleeps(self, kind: type) -> None:
        """Let a strategy's sleeps end with news; the loader may have imported it once more, under another name."""
        for one in kind.__mro__:
            names = getattr(vars(one).get("run"), "__globals__", {})
            if names.get("time") is time and is_known_strategy(one):
                longest_s = LONGEST_WAIT_S if one is strategy_plugins.StrategyBase else LONGEST_FREE_WAIT_S
                names["time"] = StrategyTime(functools.partial(self._wait, longest_s))

    def make(self, *args: Any, **kwargs: Any) -> Any:
        """Return a worker for a host and a task."""
        fields = dict(zip(self._names, args, strict=False)) | kwargs
        strategy, task = self._strategy, fields["task"]
        if not self._enabled or strategy is None:
            return self._stock_worker(*args, **kwargs)
        number = self._late.begin(strategy, task)
        if number == 1 or task._uuid != self._task:
            self._task = task._uuid
            forget_what_changed()
            forget_delegates()
        alone = _is_alone(strategy, task)
        # The free strategy has no steps.
        in_shards = not alone and strategy.ALLOW_BASE_THROTTLING and self._gathering.wanted(*_width(strategy))
        reason = self._choice.reason_to_fork(strategy, task, fields["task_vars"], alone, in_shards)
        if reason is not None:
            display.debug(f"slipstream: a worker process for {task.action}: {reason}")
            return self._stock_worker(*args, **kwargs)
        if self._baton.over.is_set():
            self._baton = Baton()
        made: Lane
        if in_shards:
            made = ShardLane(self._gathering, strategy, fields, self._baton, self._news, self._choice)
        else:
            made = Lane(strategy, fields, None if alone else self._baton, self._news, self._choice)
        # The free strategy takes results between two rounds of hosts only.
        if not alone and strategy.ALLOW_BASE_THROTTLING:
            made.results = Results(self._late, number, strategy)
        return made

    def _wait(self, longest_s: float, idle_s: float) -> None:
        """Wait until the strategy has something to look at; ``idle_s`` at most if nothing is under way."""
        strategy = self._strategy
        if strategy is None or self._baton.over.is_set():
            self._news.wait((), idle_s)
            return
        self._gathering.start()
        if self._late.release():
            return
        # Results that are there do not end the wait: who looks for a free worker takes none of them.
        alive = [worker for worker in strategy._workers if worker is not None and worker.is_alive()]
        if not alive and not strategy._pending_results:
            self._news.wait((), idle_s)
            return
        sentinels = {worker.sentinel for worker in alive} - {None}
        with self._baton.lent():
            self._news.wait(sentinels, longest_s)


def _width(strategy: Any) -> tuple[int, int]:
    """Return how many hosts run a task, and how many may do so at the same time."""
    return len(strategy._hosts_cache), len(strategy._workers)


def _is_alone(strategy: Any, task: Any) -> bool:
    """Tell whether nothing else can run beside this task: the main thread may run it."""
    if len(strategy._hosts_cache) == 1:
        return True
    # Linear starts one host and waits for it; free ignores the wish.
    return task.run_once is True and strategy.ALLOW_BASE_THROTTLING
