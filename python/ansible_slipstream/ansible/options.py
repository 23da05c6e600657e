"""Options that connections have beside stock's: like those, a variable sets them for one host or group."""

from __future__ import annotations

from typing import Any

from ansible import constants

COMPRESSIONS = ("off", "fast", "best", "auto")
_OURS = {
    "slipstream_compression": {
        "description": ["How much Slipstream deflates."],
        "type": "str",
        "choices": list(COMPRESSIONS),
        "default": "auto",
        "ini": [{"section": "slipstream", "key": "compression"}],
        "env": [{"name": "SLIPSTREAM_COMPRESSION"}],
        "vars": [{"name": "ansible_slipstream_compression"}],
    },
    "slipstream_target_cache": {
        "description": ["The folder on the target that keeps what was sent; none by default."],
        "type": "str",
        "default": "",
        "ini": [{"section": "slipstream", "key": "target_cache"}],
        "env": [{"name": "SLIPSTREAM_TARGET_CACHE"}],
        "vars": [{"name": "ansible_slipstream_target_cache"}],
    },
}


def declare(connection: str) -> None:
    """Add our options to a connection plugin's, once its own are known."""
    known = constants.config.get_configuration_definitions("connection", connection)
    if known and not _OURS.keys() <= known.keys():
        constants.config.initialize_plugin_configuration_definitions("connection", connection, {**known, **_OURS})


def compression(connection: Any) -> str:
    """Return how much a connection's link deflates."""
    return str(connection.get_option("slipstream_compression"))


def target_cache(connection: Any) -> str:
    """Return the folder of a target's cache; empty for none."""
    return str(connection.get_option("slipstream_target_cache") or "")
