"""Options of connection, shell and become plugins, resolved anew only when something that they come from has changed.

Stock resolves about sixty of them for every task. All that one may come from is known: keywords of the task,
variables, the command line, the environment, and the configuration file, which is read once. Those whose type
makes more of a value, such as a path or a list, are resolved by stock every time. What a forked worker or shard
keeps ends with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible import constants, context
from ansible.config.manager import ConfigManager

# What a plugin's ``set_options`` calls: it returns options, and from 2.18 on also where each comes from.
HAS_ORIGINS = hasattr(ConfigManager, "get_plugin_options_and_origins")
METHOD = "get_plugin_options_and_origins" if HAS_ORIGINS else "get_plugin_options"

PLUGIN_TYPES = frozenset({"connection", "shell", "become"})
# Declared types that make of a value what any other process would, at any time.
SETTLED_TYPES = frozenset({None, "str", "string", "bool", "boolean", "int", "integer", "float"})
PLAIN = frozenset({str, int, float, bool, type(None)})
# Where ansible-core up to 2.18 has its kinds of text; they carry nothing but where they were read.
_TEXT_MODULES = frozenset({"ansible.parsing.yaml.objects", "ansible.utils.unsafe_proxy"})
# So many answers are kept; 200 hosts have 600.
ANSWERS_MAX = 4096

Options = dict[str, Any]


class _Unsettled(Exception):
    """A value may be another one the next time that it is looked at."""


@dataclass(frozen=True)
class _Sources:
    """Where the options of a plugin may come from, by name."""

    definitions: Mapping[str, Any]
    # Options that stock resolves every time.
    moving: tuple[str, ...]
    keywords: tuple[str, ...]
    command_line: tuple[str, ...]
    environment: frozenset[str]

    @classmethod
    def of(cls, definitions: Mapping[str, Any]) -> _Sources:
        """Read a plugin's definitions."""
        settled = {name: entry for name, entry in definitions.items() if entry.get("type") in SETTLED_TYPES}
        keywords = set(settled)
        for entry in settled.values():
            keywords.update(entry.get("aliases") or ())
        keywords.update(_names(settled, "keyword"))
        return cls(
            definitions,
            tuple(name for name in definitions if name not in settled),
            tuple(sorted(keywords)),
            tuple(sorted(_names(settled, "cli"))),
            frozenset(_names(settled, "env")),
        )


class SettledOptions:
    """Stands in the place of the configuration's method that resolves a plugin's options."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._stock: Callable[..., Any] = getattr(config, METHOD)
        self._sources: dict[tuple[str, str], _Sources] = {}
        self._answers: dict[Any, tuple[Options, Options]] = {}

    def __call__(
        self,
        plugin_type: str,
        name: str,
        keys: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        direct: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return what stock's method returns."""
        asked = (plugin_type, name, keys, variables, direct)
        key = None if direct or plugin_type not in PLUGIN_TYPES else self._key(plugin_type, name, keys, variables)
        if key is None:
            return self._stock(*asked)
        kept = self._answers.get(key)
        if kept is None:
            return self._ask(key, asked)
        options, origins = dict(kept[0]), dict(kept[1])
        for option in self._sources[plugin_type, name].moving:
            self._resolve(option, asked, options, origins)
        return (options, origins) if HAS_ORIGINS else options

    def _resolve(self, option: str, asked: tuple[Any, ...], options: Options, origins: Options) -> None:
        resolve = self._config.get_config_value_and_origin if HAS_ORIGINS else self._config.get_config_value
        asked_for = dict(zip(("plugin_type", "plugin_name", "keys", "variables", "direct"), asked, strict=True))
        answer = resolve(option, **asked_for)
        options[option], origins[option] = answer if HAS_ORIGINS else (answer, None)

    def _ask(self, key: Any, asked: tuple[Any, ...]) -> Any:
        said = self._warnings()
        answer = self._stock(*asked)
        options, origins = answer if HAS_ORIGINS else (answer, {})
        moving = self._sources[asked[0], asked[1]].moving
        plain = all(_is_plain(value) for option, value in options.items() if option not in moving)
        # What stock has to say, it says each time.
        if plain and said == self._warnings():
            if len(self._answers) >= ANSWERS_MAX:
                self._answers.clear()
            self._answers[key] = (dict(options), dict(origins))
        return answer

    def _warnings(self) -> tuple[int, int]:
        return len(self._config.WARNINGS), len(self._config.DEPRECATED)

    def _key(self, plugin_type: str, name: str, keys: Any, variables: Any) -> Any:
        """Return all that the answer depends on; None if that can't be told."""
        definitions = self._config.get_configuration_definitions(plugin_type, name)
        sources = self._sources.get((plugin_type, name))
        if sources is None or sources.definitions is not definitions:
            # Options were declared meanwhile.
            self._answers.clear()
            sources = self._sources[plugin_type, name] = _Sources.of(definitions)
        keys, arguments = keys or {}, context.CLIARGS
        try:
            return (
                plugin_type,
                name,
                tuple((word, _token(keys[word])) for word in sources.keywords if word in keys),
                # Up to 2.18 extras are there for every plugin, and empty for most.
                tuple((word, _token(value)) for word, value in (variables or {}).items() if word != "_extras" or value),
                tuple(_token(arguments.get(word)) for word in sources.command_line),
                frozenset((word, os.environ.get(word)) for word in os.environ if word in sources.environment),
            )
        except _Unsettled:
            return None


def install() -> None:
    """Put it in the place of stock's."""
    setattr(constants.config, METHOD, SettledOptions(constants.config))


def _names(definitions: Mapping[str, Any], source: str) -> Iterable[str]:
    return (place["name"] for entry in definitions.values() for place in entry.get(source) or ())


def _is_plain(value: Any) -> bool:
    try:
        _token(value)
    except _Unsettled:
        return False
    return True


def _token(value: Any) -> Any:
    """Return what is equal for values that nobody can tell apart.

    Raises:
        _Unsettled: it can be changed in place, or is of a kind that is not known.
    """
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    tags = getattr(value, "_ansible_tags_mapping", None)
    if tags is not None and isinstance(value, str | int | float):
        return kind, value, frozenset(tags.values())
    if isinstance(value, str) and kind.__module__ in _TEXT_MODULES:
        return kind, value, getattr(value, "ansible_pos", None)
    raise _Unsettled
