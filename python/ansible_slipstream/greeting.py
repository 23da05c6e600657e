"""How a client and a daemon meet."""

from __future__ import annotations

import json
import os

from . import _native, daemon
from .errors import ChannelClosed, DaemonError
from .settings import Settings

# A daemon of another build makes room at once; more attempts mean that two builds fight over one folder.
GREETINGS = 3
# A daemon answers a greeting at once; one that is stopped or stuck must not hold a playbook up.
GREETING_DEADLINE_S = 20.0


def greet(settings: Settings, start: bool) -> tuple[_native.Channel, str, int]:
    """Return a channel to a daemon of this build, its salt and its process; ``start`` one if there is none.

    Raises:
        DaemonError: it makes no room for this build, or has other surroundings than a playbook may run in.
    """
    for _ in range(GREETINGS):
        try:
            channel = daemon.connect(settings, start)
            channel.send(json.dumps({"op": "hello", "version": _native.BUILD}).encode(), b"", None)
            control, _body, _flags = channel.receive(GREETING_DEADLINE_S)
        except ChannelClosed:
            # It was just ending, of old age or on request.
            continue
        reply = json.loads(control or b"{}")
        if reply.get("op") == "welcome":
            # Who has not come to run anything may look at any.
            if start:
                _check_surroundings(reply.get("surroundings", ""), settings)
            return channel, reply["salt"], reply["pid"]
        if reply.get("op") != "retiring":
            break
    raise DaemonError(
        f"the slipstreamd in {settings.state_dir} is of another version than this client ({_native.BUILD}) "
        f"and does not make room; end it with `slipstream stop` of its own installation (process id in "
        f"{os.path.join(settings.state_dir, 'daemon.log')})"
    )


def _check_surroundings(theirs: str, settings: Settings) -> None:
    mine = daemon.surroundings()
    if theirs == mine:
        return
    differing = sorted({word.partition(":")[0] for word in {*theirs.split()} ^ {*mine.split()}})
    raise DaemonError(
        f"the slipstreamd in {settings.state_dir} was started in other surroundings than this playbook "
        f"({', '.join(differing)} differ); give this one another folder (dir in [slipstream], or SLIPSTREAM_DIR)"
    )
