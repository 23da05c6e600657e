"""What a lane is told of the time it held the baton: only what it did itself counts as its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from ansible_slipstream.ansible.lanes.clock import Clock

COMPUTED_S = 0.15


@contextmanager
def crowded_processor() -> Iterator[None]:
    """Keep this thread on one processor, with three processes that never leave it."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with ExitStack() as burning:
            for _ in range(3):
                process = burning.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
                burning.callback(process.kill)
            yield
    finally:
        os.sched_setaffinity(0, allowed)


def compute() -> None:
    started = time.thread_time()
    while time.thread_time() - started < COMPUTED_S:
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")
def test_who_waits_for_a_processor_is_not_blocked() -> None:
    clock = Clock()
    with crowded_processor():
        clock.start()
        started = time.monotonic()
        compute()
        computed, blocked, passed = clock.computed_s(), clock.blocked_s(), time.monotonic() - started
    assert passed > 2 * COMPUTED_S
    assert computed >= COMPUTED_S
    assert blocked < 0.1 * passed


def test_who_waits_for_something_else_is() -> None:
    clock = Clock()
    clock.start()
    threading.Event().wait(0.2)
    assert clock.blocked_s() > 0.15
    assert clock.computed_s() < 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")
def test_fork_and_threads_have_clocks_of_their_own() -> None:
    """The time that another thread, or the one that forked, waited for the processor is not theirs."""
    clock = Clock()
    clock.start()
    seen: list[float] = []

    def other() -> None:
        own = Clock()
        own.start()
        compute()
        seen.append(own.blocked_s())

    with crowded_processor():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert abs(seen[0]) < 0.1
        # Nothing but blocked, for as long as the other one waited and computed.
        assert clock.blocked_s() > 2 * COMPUTED_S
        child = os.fork()
        if child == 0:
            try:
                other()
            finally:
                os._exit(0 if len(seen) == 2 and abs(seen[1]) < 0.1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
