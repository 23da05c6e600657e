"""Loads in the main process, once, what every forked worker would otherwise load again by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from ansible.plugins.loader import become_loader, connection_loader, get_shell_plugin, module_loader

from .versions import HAS_PROFILES

# What most playbooks use most; a module that is not here costs its workers what it costs them under stock.
MODULES = ("command", "copy", "file", "setup", "stat")


def warm_up() -> None:
    """Load plugins, options and encoders; what can't be loaded now is left to the workers."""
    steps: list[Callable[[], None]] = [_plugins, *([_results] if HAS_PROFILES else [])]
    for step in steps:
        with contextlib.suppress(Exception):
            step()


def _plugins() -> None:
    for name in ("ssh", "local"):
        connection_loader.get(name, class_only=True)
    become_loader.get("sudo", class_only=True)
    get_shell_plugin(shell_type="sh", executable="/bin/sh")
    for name in MODULES:
        module_loader.find_plugin_with_context(f"ansible.legacy.{name}")


def _results() -> None:
    from ansible.module_utils.common.json import Direction, get_module_decoder, get_module_encoder

    get_module_encoder("legacy", Direction.CONTROLLER_TO_MODULE)
    get_module_decoder("legacy", Direction.MODULE_TO_CONTROLLER)
    from ansible._internal import _task

    for source_is_module in (False, True):
        _task.UnifiedTaskResult.get_result_key_to_resolved_field_mapping(source_is_module=source_is_module)
