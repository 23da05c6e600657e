"""Settings, from the environment, then from the section ``[slipstream]`` of ansible.cfg."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass

from . import _native

LOG_LEVELS = ("off", "error", "warn", "info", "debug", "trace")


class BadSetting(ValueError):
    """A setting makes no sense; the text names it and says what it may be."""


@dataclass(frozen=True)
class Settings:
    """How Slipstream runs. Times are in seconds."""

    enabled: bool = True
    lanes: bool = True
    # At most so many processes share a wide step; None for one a processor.
    shards: int | None = None
    minify: bool = True
    linger_s: float = 60.0
    idle_s: float = 300.0
    log: str = "info"
    state_dir: str = ""


def read(config_file: str | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; ``SLIPSTREAM_<NAME>`` wins over the key ``<name>`` in ansible.cfg.

    Raises:
        BadSetting: for a value that can't be used.
    """
    section = _section(config_file)

    def text(name: str, default: str) -> str:
        return environment.get(f"SLIPSTREAM_{name.upper()}", section.get(name, default)).strip()

    log = text("log", Settings.log)
    if log not in LOG_LEVELS:
        raise BadSetting(f"slipstream's log level is {log!r}; it may be {', '.join(LOG_LEVELS)}")
    return Settings(
        enabled=_boolean("enabled", text("enabled", "true")),
        lanes=_boolean("lanes", text("lanes", "true")),
        shards=_count_or_auto("shards", text("shards", "auto")),
        minify=_boolean("minify", text("minify", "true")),
        linger_s=_seconds("linger", text("linger", str(Settings.linger_s))),
        idle_s=_seconds("idle", text("idle", str(Settings.idle_s))),
        log=log,
        state_dir=_native.default_state_dir(),
    )


def _section(config_file: str | None) -> Mapping[str, str]:
    if not config_file:
        return {}
    # Ansible's own way of reading the file: no interpolation, and comments behind values.
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
    try:
        parser.read(config_file, encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):
        # Ansible has read it, or has said better why it can't.
        return {}
    return parser["slipstream"] if parser.has_section("slipstream") else {}


def _boolean(name: str, value: str) -> bool:
    if value.lower() in ("1", "true", "yes", "on", "y", "t"):
        return True
    if value.lower() in ("0", "false", "no", "off", "n", "f"):
        return False
    raise BadSetting(f"slipstream's {name} is {value!r}; it may be true or false")


def _count_or_auto(name: str, value: str) -> int | None:
    if value.lower() == "auto":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 1024:
        raise BadSetting(f"slipstream's {name} is {value!r}; it may be auto, or a number from 1 to 1024")
    return int(value)


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise BadSetting(f"slipstream's {name} is {value!r}; it is a number of seconds, 0 or more")
    return seconds
