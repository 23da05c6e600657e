"""A worker without a process: stock's own worker code on a task of its own, in this process."""

from __future__ import annotations

import contextlib
import contextvars
import copy
import functools
import os
import pickle
import queue
import signal
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

from ansible.executor.process import worker as stock_module
from ansible.executor.task_queue_manager import CallbackSend, FinalQueue
from ansible.plugins import strategy as strategy_plugins
from ansible.utils.display import Display

from ..versions import CORE, HAS_PROFILES
from . import baton, isolation
from .choice import Choice
from .found import Found
from .late import Results
from .moving import Successor
from .news import News
from .plugins import forget_noise
from .warned import forget_warned

display = Display()

LIVE: weakref.WeakSet[Lane] = weakref.WeakSet()


class Lane:
    """What the strategy takes for a worker process. ``shared_baton`` is None for a lane of the main thread."""

    def __init__(
        self,
        strategy: Any,
        fields: dict[str, Any],
        shared_baton: baton.Baton | None,
        news: News,
        choice: Choice,
    ) -> None:
        # The process that runs the task, where that is not the playbook's.
        self.process: Any = None
        # Whether the task has left for it from its middle.
        self.left = False
        # In that process: itself.
        self._successor: Successor | None = None
        self._code = 0
        # What stock's constructor was given.
        self.fields = fields
        self.final_queue = fields["final_q"]
        self.baton = shared_baton
        self.delivering = False
        self.children: list[Any] = []
        # What the process is for this lane, while it is left.
        self.kept_state: isolation.ProcessState | None = None
        # Whether one is starting, and whether more may.
        self.starting = False
        self._ending = False
        self.stray = isolation.stray_output()
        self.choice = choice
        # The dictionary ``vars`` whose values are this lane's own.
        self.own_vars: Any = None
        # Python's own warnings that it has shown, and when.
        self.warned: dict[Any, int] = {}
        self._computed_s = 0.0
        self._news = news
        self.on_end = news.tell
        # Where its result goes; None stands for the strategy's own.
        self.results: Results | None = None
        self._alive = True
        # Whether a result was sent.
        self.answered = False
        self._strategy = strategy
        self.queue = _Queue.of(self)
        self.task_vars = _own_variables(fields["task_vars"])
        self._set_up(fields)

    def _set_up(self, fields: dict[str, Any]) -> None:
        """Set what stock's worker code reads, with copies of all that it writes to."""
        for name, value in fields.items():
            setattr(self, f"_{name}", value)
        self.worker_id = fields["worker_id"]
        # What the user has answered: stock's results loop puts it there before the lane looks.
        self.worker_queue: Any = _Answers()
        self._final_q = self.queue
        self._task_vars = self.task_vars
        # Finalized in place, for one host.
        stock_task = fields["task"]
        self._task = stock_task.copy(exclude_parent=True, exclude_tasks=True)
        self._task._parent = stock_task._parent
        # The worker empties its host before it sends it.
        self._host = _shallow(fields["host"])
        # Temporary files belong to the worker that made them.
        self._loader = _shallow(fields["loader"])
        self._loader._tempfiles = set()
        self.found = Found(self._loader)
        self._loader._FILE_CACHE = self.found.files
        self._task._loader = self._loader
        if not HAS_PROFILES:
            self._new_stdin = _no_input()

    @property
    def pid(self) -> int | None:
        """The process that stock signals."""
        return None if self.process is None else self.process.pid

    @property
    def sentinel(self) -> int | None:
        """What becomes readable when the process has ended; None without one."""
        return None if self.process is None else int(self.process.sentinel)

    @property
    def has_others(self) -> bool:
        """Tell whether other lanes may want to run beside this one."""
        return self.baton is not None

    def is_alive(self) -> bool:
        """Tell whether the task still runs; one that stands still for good does not."""
        if self.left:
            return bool(self.process.is_alive())
        return self._alive and not (self.baton is not None and self.baton.over.is_set())

    @property
    def exitcode(self) -> int | None:
        """What stock looks at: other than 0 means that the task ended without a result."""
        return self.code()

    def code(self) -> int | None:
        """Return the exit code that a worker would have."""
        return self.process.exitcode if self.left else self._code

    def close(self) -> None:
        """Let go of a process that the task has left for."""
        if self.left:
            self.process.close()

    def join(self, timeout: float | None = None) -> None:
        """Wait for a process that the task has left for; a thread needs no reaping."""
        if self.left:
            self.process.join(timeout)

    def terminate(self) -> None:
        """End the process, or what the task has started here; its thread stands still from its next wait on."""
        if self.left or self.process is None:
            self.end_children(signal.SIGTERM)
        else:
            self.process.terminate()

    def start(self) -> None:
        """Run the task, in the main thread to its end, else until it waits for the first time."""
        LIVE.add(self)
        isolation.flush_output()
        if isolation.WORKERS_ARE_DETACHED:
            isolation.end_children_on_signals(LIVE)
        inherited = contextvars.copy_context()

        def run() -> None:
            inherited.run(self._run)

        if self.baton is None:
            run()
        else:
            self.baton.start(run)

    @contextlib.contextmanager
    def own_process_state(self) -> Iterator[None]:
        """Undo what plugins do to the process, which would end with a worker."""
        self._before = isolation.ProcessState()
        try:
            yield
        finally:
            self._before.restore()

    @contextlib.contextmanager
    def process_left(self) -> Iterator[None]:
        """Leave the process, for the while of a wait, as it was before the lane began."""
        mine = self.kept_state = isolation.ProcessState()
        self._before.restore()
        try:
            yield
        finally:
            self.kept_state = None
            # What callbacks have made of it meanwhile stays.
            self._before = isolation.ProcessState()
            mine.restore()
            stock_module.current_worker = self

    def for_command(self) -> dict[str, Any]:
        """Return what ``Popen`` has to be told while the process is left."""
        return {} if self.kept_state is None else self.kept_state.for_command()

    def held(self, computed_s: float, blocked_s: float) -> None:
        """Let it be known what the task costs the others."""
        self._computed_s += computed_s
        self.choice.note(self.fields["task"], self.fields["host"].name, self._computed_s, blocked_s)

    def end_children(self, number: int) -> None:
        """End what the task runs in sessions of its own: commands, and the process that it has left for."""
        for process in self.children:
            isolation.end_group(process, number)

    def start_no_more(self) -> None:
        """Let the next process that the task starts be its end."""
        self._ending = True

    @contextlib.contextmanager
    def starting_process(self) -> Iterator[None]:
        """Postpone the signals that end the task's processes until one that starts is among them."""
        self.starting = True
        try:
            if self._ending:
                raise KeyboardInterrupt
            yield
        finally:
            self.starting = False
            isolation.repeat_postponed()

    def move(self) -> None:
        """Let the task go on in a worker process: returns there, and raises here.

        Raises:
            Moved: this is the process that the task has left.
        """
        if self.left:
            # Some plugin has caught what was raised here.
            raise baton.Moved
        successor = Successor(**self.fields)
        # It may ask something before this process comes to go on.
        self._have_answered(successor)
        # A signal ends both.
        with self.starting_process():
            successor.start()
            if successor.is_here:
                # From here on this process ends with the lane, however that ends.
                self._successor = successor
                # The others' processes are not this one's.
                LIVE.clear()
                try:
                    successor.enter(self)
                except BaseException:
                    successor.end(1)
                self._continue_in(successor)
                return
            self.children.append(successor._popen)
            self._leave_for(successor)
            self.left = True
        self.choice.note_moved(self.fields["task"])
        # They belong to the successor.
        self._loader._tempfiles = set()
        raise baton.Moved

    def _have_answered(self, successor: Successor) -> None:
        """Let answers to the task's questions go to the process that it goes on in."""
        self.worker_queue = successor.worker_queue

    def _continue_in(self, successor: Successor) -> None:
        """Be the work of this process, which was started for it."""
        self.process = successor

    def _leave_for(self, successor: Successor) -> None:
        """Stand for the process that the task goes on in."""
        self.process = successor

    def _see_off(self) -> None:
        """Do what is left to do here for a task that has left."""

    def _run(self) -> None:
        try:
            forget_noise()
            forget_warned()
            with baton.running(self), self.own_process_state(), _task_context(self):
                stock_module.WorkerProcess._run(self)
        except BaseException as error:
            if self.baton is None and self._successor is None and isinstance(error, KeyboardInterrupt):
                # Meant for the playbook, whose thread this is.
                raise
            if self.left:
                self._see_off()
            else:
                self._hard_exit(traceback.format_exc())
        finally:
            if self._successor is not None:
                self._loader.cleanup_all_tmp_files()
                self._successor.end(self._code if self.answered else 1)
            if self.baton is not None:
                self.baton.tell(self)
            stock_module.current_worker = None
            self._loader.cleanup_all_tmp_files()
            if not self.answered and not self.left:
                # As a worker that has died: stock ends the play with words of its own.
                self._code = 1
            self._alive = False
            if not self.left:
                LIVE.discard(self)
            self.on_end()

    def _hard_exit(self, why: str) -> None:
        """Say what has broken the worker, as loudly as stock's does."""
        (display.error if HAS_PROFILES else display.debug)(why)
        self._code = 1

    def deliver(self, item: Any) -> None:
        """Copy an item as the pipe would, and let stock's results loop take it; or send it through that pipe."""
        if self.left:
            # The successor says it.
            raise baton.Moved
        if self.process is not None:
            self.final_queue.put(item)
            return
        item = pickle.loads(pickle.dumps(item))
        self.delivering = True
        try:
            # As in stock's results thread, which knows nothing of the task that the worker was in.
            outside = contextvars.Context()
            # Callbacks run in the process of the playbook; all else only comes to a list, or is shown.
            runs_callbacks = isinstance(item, CallbackSend) and self.kept_state is None
            with self.process_left() if runs_callbacks else contextlib.nullcontext():
                outside.run(strategy_plugins.results_thread_main, _Delivery(self._strategy, item, self.results))
        finally:
            self.delivering = False

    def _clean_up(self) -> None:
        """Called by stock's worker up to 2.18 when a task has failed badly; done after every task here."""


class _Queue(FinalQueue):  # type: ignore[misc]
    """A worker's queue without a pipe: what is sent is with the strategy when the call returns."""

    @classmethod
    def of(cls, lane: Lane) -> _Queue:
        """Make a lane's queue; stock's constructor would open a pipe."""
        made = cls.__new__(cls)
        made._lane = weakref.ref(lane)
        return made

    def send_task_result(self, *args: Any, **kwargs: Any) -> None:
        """Send the task's result, in this version's shape."""
        super().send_task_result(*args, **kwargs)
        self._lane().answered = True

    def put(self, item: Any) -> None:
        """Hand an item to the strategy."""
        self._lane().deliver(item)


class _Answers(queue.SimpleQueue[Any]):
    """A worker's own queue without a pipe."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the user has answered; raise what kept the user from it."""
        answer = super().get(*args, **kwargs)
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Delivery:
    """Stands for the strategy in stock's results loop: one item, then the end."""

    def __init__(self, strategy: Any, item: Any, results: Results | None) -> None:
        self._strategy = strategy
        self._items = [item]
        self._final_q = self
        if results is not None:
            self._results = results

    def get(self) -> Any:
        """Return the item; the loop ends at what a closed pipe raises."""
        if not self._items:
            raise EOFError
        return self._items.pop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)


def _task_context(lane: Lane) -> contextlib.AbstractContextManager[Any]:
    """Return what stock's worker wraps its work in."""
    if not HAS_PROFILES:
        return contextlib.nullcontext()
    from ansible._internal import _task

    if CORE < (2, 21):
        return _task.TaskContext(lane._task)  # type: ignore[no-any-return]
    return _task.TaskContext.create(  # type: ignore[no-any-return]
        task=lane._task, task_vars=lane.task_vars, host_name=lane._host.name
    )


def _own_variables(task_vars: dict[str, Any]) -> dict[str, Any]:
    """Copy what the executor writes to: the top, and the facts that interpreter discovery adds to."""
    own = dict(task_vars)
    if isinstance(facts := own.get("ansible_facts"), dict):
        own["ansible_facts"] = copy.copy(facts)
    if isinstance(delegated := own.get("ansible_delegated_vars"), dict):
        own["ansible_delegated_vars"] = {name: copy.copy(variables) for name, variables in delegated.items()}
        for variables in own["ansible_delegated_vars"].values():
            if isinstance(variables, dict) and isinstance(variables.get("ansible_facts"), dict):
                variables["ansible_facts"] = copy.copy(variables["ansible_facts"])
    return own


def _shallow(original: Any) -> Any:
    """Copy an object without the hooks that it has for pickling."""
    made = object.__new__(type(original))
    made.__dict__.update(original.__dict__)
    return made


@functools.cache
def _no_input() -> Any:
    return open(os.devnull)
