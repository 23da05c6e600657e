"""What is measured: each scenario runs every way once a round and says what it measured."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

from kit.relay import Relay
from kit.sshd import Sshd
from ways import Sample, Way

MEGABYTE = 1 << 20
# Seconds each way of a far target.
FAR = 0.075
# Start-ups take a second, and differ by more than what is asked for.
PAIRS = 5


@dataclass(frozen=True)
class Scenario:
    """A row of the table."""

    name: str
    title: str
    # Runs one way once, from a cold start to a cold end.
    measure: Callable[[Way], Sample]
    # At most so much of each other way, by the measure; empty where there is no such bound.
    bounds: dict[str, float]
    # Which figure the bounds are about.
    figure: str = "seconds"
    # Bounds of other figures of the same runs.
    also: dict[str, dict[str, float]] = field(default_factory=dict)
    # What Slipstream's figure may be at most, in the figure's unit; None if only ratios are bounded.
    most: float | None = None

    def rows(self) -> list[tuple[str, str, dict[str, float]]]:
        """Return each row's name, figure and bounds."""
        others = [(f"{self.name}-{figure}", figure, bounds) for figure, bounds in self.also.items()]
        return [(self.name, self.figure, self.bounds), *others]


class Bench:
    """Makes the scenarios for one server."""

    def __init__(self, sshd: Sshd, folder: Path, big: int) -> None:
        self._sshd = sshd
        self._folder = folder
        self._big = big

    def scenarios(self) -> list[Scenario]:
        """Return every scenario."""
        return [
            Scenario(
                "step", "a further `command`, one host", self._step("command", 100), {"mitogen": 0.25, "stock": 0.06}
            ),
            Scenario("debug", "a further `debug`, one host", self._step("debug", 100), {"stock": 0.3}),
            Scenario("wide", "20 hosts x 10 `command`, warm", self._wide(), {"mitogen": 0.25, "stock": 0.12}),
            Scenario(
                "wide-cold", "20 hosts x 10 `command`, cold", self._cold("command_10", "h*[0:19]"), {"mitogen": 0.6}
            ),
            Scenario("apt", "`setup`, `apt`, become, cold", self._cold("setup_apt", "h0"), {"stock": 0.85}),
            Scenario("apt-far", "the same at 150 ms", self._cold("setup_apt", "h0", FAR), {"stock": 0.85}),
            Scenario("far", "20 `command` at 150 ms, warm", self._far(), {}, figure="round_trips", most=1.1),
            Scenario("again", "one task, warm, less start-up", self._again(), {}, most=0.06),
            Scenario("ping-cold", "ad-hoc `ping`, cold", self._ping(warm=False), {"stock": 0.95}),
            Scenario("ping", "ad-hoc `ping`, warm", self._ping(warm=True), {"stock": 0.85}),
            Scenario("loops", "30 `copy` and 30 `stat`, warm", self._warm("loops", "loops", "h0"), {"mitogen": 0.4}),
            Scenario("copy", f"`copy` of {self._big} MB, warm", self._file("copy"), {"stock": 0.8, "scp": 1.1}),
            Scenario("fetch", f"`fetch` of {self._big} MB, warm", self._file("fetch"), {"stock": 0.8, "scp": 1.1}),
            # The longest comes last.
            Scenario(
                "hosts",
                "200 hosts x 5 `command`, warm",
                self._hosts(),
                {"stock": 0.3},
                figure="controller_cpu",
                also={"memory_mb": {"stock": 1.0}},
            ),
        ]

    def _step(self, module: str, steps: int) -> Callable[[Way], Sample]:
        def measure(way: Way) -> Sample:
            way.run(module, "h0")
            one = way.run(module, "h0")
            many = way.run(f"{module}_{steps}", "h0")
            return _per(steps - 1, one, many)

        return measure

    def _warm(self, before: str, playbook: str, hosts: str, memory: bool = False) -> Callable[[Way], Sample]:
        def measure(way: Way) -> Sample:
            way.run(before, hosts)
            return way.run(playbook, hosts, memory=memory)

        return measure

    def _wide(self) -> Callable[[Way], Sample]:
        return self._warm("command", "command_10", "h*[0:19]")

    def _hosts(self) -> Callable[[Way], Sample]:
        return self._warm("command", "command_5", "h*", memory=True)

    def _cold(self, playbook: str, hosts: str, delay: float = 0.0) -> Callable[[Way], Sample]:
        def measure(way: Way) -> Sample:
            if not delay:
                return way.run(playbook, hosts)
            with self._away(way, delay) as relay:
                return way.run(playbook, hosts, relay=relay)

        return measure

    def _far(self) -> Callable[[Way], Sample]:
        def measure(way: Way) -> Sample:
            with self._away(way, FAR) as relay:
                way.run("command", "h0", relay=relay)
                one = way.run("command", "h0", relay=relay)
                many = way.run("command_20", "h0", relay=relay)
            return _per(19, one, many)

        return measure

    def _again(self) -> Callable[[Way], Sample]:
        def measure(way: Way) -> Sample:
            way.run("command", "h0")
            pairs = [(way.run("empty", "h0"), way.run("command", "h0")) for _ in range(PAIRS)]
            empty, one = zip(*pairs, strict=True)
            return _per(1, _median(empty), _median(one))

        return measure

    def _ping(self, warm: bool) -> Callable[[Way], Sample]:
        def measure(way: Way) -> Sample:
            command = ["ansible", "-m", "ping", "h0"]
            if warm:
                way.execute(command)
            return way.execute(command)

        return measure

    def _file(self, playbook: str) -> Callable[[Way], Sample]:
        def measure(way: Way) -> Sample:
            source, target = self._folder / "big", self._folder / "open" / "big"
            _make_big(source, self._big)
            way.run("command", "h0")
            sample = way.run(playbook, "h0", "-e", f"source={source}", "-e", f"target={target}")
            target.unlink()
            return sample

        return measure

    @contextmanager
    def _away(self, way: Way, delay: float) -> Iterator[Relay]:
        with Relay(self._sshd.port, delay=delay) as relay:
            way.use_port(relay.port)
            try:
                yield relay
            finally:
                way.cool()
                way.use_port(self._sshd.port)


def _per(steps: int, one: Sample, many: Sample) -> Sample:
    """Return what one further step cost."""
    more = Sample(*((last - first) / steps for last, first in zip(astuple(many), astuple(one), strict=True)))
    # No step has memory of its own.
    return replace(more, memory_mb=0.0, largest_mb=many.largest_mb)


def _median(samples: Iterable[Sample]) -> Sample:
    return Sample(*map(statistics.median, zip(*map(astuple, samples), strict=True)))


def _make_big(path: Path, megabytes: int) -> None:
    """Make a file that no compression makes smaller."""
    if path.exists() and path.stat().st_size == megabytes * MEGABYTE:
        return
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(MEGABYTE))


def scp_seconds(sshd: Sshd, folder: Path, megabytes: int) -> float:
    """Return how long plain scp takes for the big file, connection included."""
    import time

    source, target = folder / "big", folder / "open" / "scp"
    _make_big(source, megabytes)
    options = ["-q", "-F", "none", "-P", str(sshd.port), "-i", str(sshd.user_key), "-o", "StrictHostKeyChecking=no"]
    options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    started = time.monotonic()
    subprocess.run(["scp", *options, str(source), f"slip-alice@127.0.0.1:{target}"], check=True)
    seconds = time.monotonic() - started
    target.unlink()
    return seconds
