"""Compare options that are kept with stock's, while what they come from changes at random.

Run by a Python that has ansible-core and Slipstream; prints one line a difference, then how many answers were
compared and how many of those were kept ones. Exits with 1 if there is a difference, or if nothing was kept.

    python tests/conformance/options.py ROUNDS
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import Any

from ansible import constants, context
from ansible.module_utils.common.collections import ImmutableDict
from ansible.plugins.loader import become_loader, connection_loader, init_plugin_loader, shell_loader
from ansible.utils.unsafe_proxy import wrap_var
from ansible_slipstream.ansible import options
from ansible_slipstream.ansible.settled import METHOD, SettledOptions
from ansible_slipstream.ansible.versions import HAS_PROFILES


def _tagged(value: Any, line: int) -> Any:
    """Return a value that says where it was read; up to 2.18 nothing does."""
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return value
    return Origin(path="/a/file", line_num=line).tag(value)


PLUGINS = [
    ("connection", "ssh"),
    ("shell", "sh"),
    ("become", "sudo"),
    ("callback", "default"),
    ("become", "made"),
    ("become", "loose"),
]
# A plugin that has an option of each kind.
MADE: dict[str, Any] = {
    "plain": {"type": "str", "vars": [{"name": "made_plain"}], "cli": [{"name": "made_plain"}], "default": "x"},
    "number": {"type": "int", "vars": [{"name": "made_number"}], "keyword": [{"name": "made_number"}], "default": 1},
    "any": {"vars": [{"name": "made_any"}], "aliases": ["made_alias"]},
    "list": {"type": "list", "keyword": [{"name": "made_list"}]},
    "folder": {"type": "path", "default": "~/made"},
    "old": {"env": [{"name": "MADE_OLD", "deprecated": {"why": "old", "version": "9.0", "alternatives": "none"}}]},
}
# Its option is of no type and has a default that can be changed in place.
LOOSE: dict[str, Any] = {"loose": {"default": ["a"]}}
# By source, names with the values that they may have; None takes the name out.
KEYWORDS: dict[str, list[Any]] = {
    "become_user": ["bob", None],
    "environment": [[{"A": "1"}], None],
    "port": [22, "22", None],
    "made_number": [1, True, "1", None],
    "made_list": [["a"], "b", None],
    "made_alias": ["alias", None],
    "not_an_option": ["x", ["y"], None],
}
VARIABLES: dict[str, list[Any]] = {
    "_extras": [{}, {"a": "b"}, None],
    "ansible_host": ["one.test", "two.test", None],
    "ansible_ssh_retries": ["many", 3, None],
    "made_plain": ["one", wrap_var("one"), _tagged("one", 1), _tagged("one", 2), None],
    "made_any": [1, True, "1", [1], {"a": 1}],
}
ENVIRONMENT: dict[str, list[Any]] = {
    "HOME": ["/root", "/home/somebody"],
    "ANSIBLE_SSH_RETRIES": ["5", "", "none", None],
    "SLIPSTREAM_COMPRESSION": ["off", "wrong", None],
    "MADE_OLD": ["old", None],
}
ARGUMENTS: dict[str, list[Any]] = {"ssh_common_args": ["-v", None], "made_plain": ["two", None]}
FOLDERS = ["/", "/tmp"]


def main() -> int:
    """Compare, print, and tell by the exit code."""
    dice = random.Random(1)
    init_plugin_loader([])
    for loader, name in ((connection_loader, "ssh"), (shell_loader, "sh"), (become_loader, "sudo")):
        loader.get(name, class_only=True)
    constants.config.initialize_plugin_configuration_definitions("become", "made", MADE)
    constants.config.initialize_plugin_configuration_definitions("become", "loose", LOOSE)
    options.declare("ssh")
    stock = getattr(constants.config, METHOD)
    settled = SettledOptions(constants.config)
    asked: list[tuple[Any, ...]] = []

    def counted(*words: Any) -> Any:
        asked.append(words)
        return stock(*words)

    settled._stock = counted
    keywords: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    rounds = int(sys.argv[1])
    different = 0
    for _ in range(rounds):
        _change(dice, KEYWORDS, keywords)
        _change(dice, VARIABLES, variables)
        _change(dice, ARGUMENTS, arguments)
        _change(dice, ENVIRONMENT, os.environ)
        os.chdir(dice.choice(FOLDERS))
        context.CLIARGS = ImmutableDict(arguments)
        direct = dice.choice([None] * 9 + [{"become_user": "frank", "plain": "direct"}])
        question = (*dice.choice(PLUGINS), dict(keywords), dict(variables), direct)
        expected, found = _answer(stock, question), _answer(settled, question)
        if repr(expected) != repr(found):
            different += 1
            print(f"{question}\n  stock   {expected}\n  settled {found}")
    kept = rounds - len(asked)
    print(f"{rounds} answers, {kept} of them kept, {different} different")
    return 0 if kept and not different else 1


def _change(dice: random.Random, choices: dict[str, list[Any]], where: Any) -> None:
    """Give one of a source's names another value, now and then."""
    if dice.random() < 0.05:
        name = dice.choice(sorted(choices))
        value = dice.choice(choices[name])
        where.pop(name, None)
        if value is not None:
            where[name] = value


def _answer(resolve: Callable[..., Any], question: tuple[Any, ...]) -> Any:
    """Return options with their types, tags, origins and order, or the error; then empty what is the plugin's now."""
    said = len(constants.config.WARNINGS), len(constants.config.DEPRECATED)
    try:
        answer = resolve(*question)
    except Exception as error:
        return type(error), str(error)
    said = len(constants.config.WARNINGS) - said[0], len(constants.config.DEPRECATED) - said[1]
    found, origins = answer if isinstance(answer, tuple) else (answer, {})
    told = [(name, type(value), value, _tags(value), origins.get(name)) for name, value in found.items()]
    text = repr((told, said))
    # Up to 2.18 the default itself is given out.
    if HAS_PROFILES and "loose" in found:
        found["loose"].append("spoilt")
    found.clear()
    origins.clear()
    return text


def _tags(value: Any) -> list[str]:
    return sorted(map(repr, getattr(value, "_ansible_tags_mapping", {}).values()))


if __name__ == "__main__":
    sys.exit(main())
