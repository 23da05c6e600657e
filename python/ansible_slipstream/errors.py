"""Why the daemon can't be asked, or could not do what it was asked."""

from __future__ import annotations

from dataclasses import dataclass

from ._native import (
    ChannelClosed,
    ChannelTimeout,
    DaemonError,
    DaemonNotRunning,
    DaemonNotStarted,
    UnsafeState,
)

__all__ = [
    "AgentRefused",
    "ChannelClosed",
    "ChannelTimeout",
    "ChoresUndone",
    "DaemonError",
    "DaemonNotRunning",
    "DaemonNotStarted",
    "FailedHere",
    "LinkLost",
    "NeedsEnvironment",
    "NeedsStock",
    "NoAgent",
    "RequestFailed",
    "Unreachable",
    "UnsafeState",
]


class RequestFailed(DaemonError):
    """The daemon understood and could not do it; the text says why."""


class FailedHere(RequestFailed):
    """A file could not be moved because of its side on this machine; the text says why."""


class NoAgent(DaemonError):
    """No agent of the login account runs on the link."""


class NeedsEnvironment(DaemonError):
    """The agent has to be started with the job's environment; nothing ran."""


class NeedsStock(DaemonError):
    """Stock has to run the module, for the reason it names; nothing ran."""


class ChoresUndone(DaemonError):
    """What a module needs done first could not all be done, for the reason it names; the module was not begun."""


class LinkLost(DaemonError):
    """The link broke after the request was sent; the module may have run, in part or whole."""


@dataclass
class AgentRefused(DaemonError):
    """The agent's start line ended without a greeting; nothing ran."""

    rc: int
    stdout: bytes
    stderr: bytes


@dataclass
class Unreachable(DaemonError):
    """There is no link; nothing ran. ``denied``: ssh asked for the password a second time."""

    rc: int
    stderr: bytes
    denied: bool
