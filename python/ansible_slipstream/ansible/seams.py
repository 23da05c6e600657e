"""The places of ansible-core that we hook, and how they looked in the versions that we tested."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from ansible.config.manager import ConfigManager
from ansible.executor import module_common
from ansible.executor.task_executor import TaskExecutor
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.inventory.data import InventoryData
from ansible.plugins import action as action_plugins
from ansible.plugins import become as become_plugins
from ansible.plugins import shell as shell_plugins
from ansible.plugins import strategy as strategy_plugins
from ansible.plugins.connection import ssh
from ansible.plugins.loader import PluginLoader, connection_loader
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager

from . import settled
from .versions import CORE, HAS_PROFILES, TESTED, VERSION

# Owner, name, and the parameters that have to be there.
SEAMS: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (action_plugins, "discover_interpreter", ("action", "interpreter_name", "discovery_mode", "task_vars")),
    (action_plugins, "modify_module", ("module_name", "module_path", "module_args", "templar", "task_vars")),
    (action_plugins.ActionBase, "_configure_module", ("self", "module_name", "module_args", "task_vars")),
    (action_plugins.ActionBase, "_execute_module", ("self", "module_name", "module_args", "wrap_async")),
    (action_plugins.ActionBase, "_make_tmp_path", ("self",)),
    (action_plugins.ActionBase, "_transfer_file", ("self", "local_path", "remote_path")),
    (action_plugins.ActionBase, "_is_pipelining_enabled", ("self", "module_style", "wrap_async")),
    (action_plugins.ActionBase, "_compute_environment_string", ("self", "raw_environment_out")),
    (become_plugins.BecomeBase, "check_password_prompt", ("self", "b_output")),
    (become_plugins.BecomeBase, "check_success", ("self", "b_output")),
    (become_plugins.BecomeBase, "check_incorrect_password", ("self", "b_output")),
    (become_plugins.BecomeBase, "check_missing_password", ("self", "b_output")),
    (TaskExecutor, "_poll_async_result", ("self", "templar")),
    (TaskQueueManager, "_cleanup_processes", ("self",)),
    (connection_loader, "get_with_context", ("name", "args", "kwargs")),
    (module_common, "recursive_finder", ("name", "module_fqn", "module_data", "zf", "date_time")),
    (module_common, "_add_module_to_zip", ("zf", "date_time")),
    (module_common, "_extract_interpreter", ("b_module_data",)),
    (module_common, "_get_ansible_module_fqn", ("module_path",)),
    (module_common, "_get_shebang", ("interpreter", "task_vars", "templar", "args", "remote_is_local")),
    (module_common, "_is_binary", ("b_module_data",)),
    (ssh.Connection, "_bare_run", ("self", "cmd", "in_data", "sudoable", "checkrc")),
    (ssh.Connection, "_build_command", ("self", "binary", "subsystem", "other_args")),
    (ssh.Connection, "_file_transport_command", ("self", "in_path", "out_path", "sftp_action")),
    (ssh.Connection, "exec_command", ("self", "cmd", "in_data", "sudoable")),
    (ssh.Connection, "reset", ("self",)),
    (shell_plugins.ShellBase, "build_module_command", ("self", "env_string", "shebang", "cmd", "arg_path")),
    (shell_plugins.ShellBase, "chmod", ("self", "paths", "mode")),
    (shell_plugins.ShellBase, "expand_user", ("self", "user_home_path", "username")),
    (shell_plugins.ShellBase, "mkdtemp", ("self", "basefile", "system", "mode", "tmpdir")),
    (shell_plugins.ShellBase, "remove", ("self", "path", "recurse")),
    (strategy_plugins.StrategyBase, "_queue_task", ("self", "host", "task", "task_vars", "play_context")),
    (strategy_plugins, "results_thread_main", ("strategy",)),
    (
        strategy_plugins.WorkerProcess,
        "__init__",
        ("final_q", "task_vars", "host", "task", "play_context", "loader", "variable_manager", "worker_id"),
    ),
    (strategy_plugins.WorkerProcess, "_run", ("self",)),
    (strategy_plugins.WorkerProcess, "_hard_exit", ("self",)),
    (PluginLoader, "_clear_caches", ("self",)),
    (PluginLoader, "_load_module_source", ("self", "path")),
    (PluginLoader, "get", ("self", "name")),
    (PluginLoader, "find_plugin_with_context", ("self", "name", "collection_list")),
    (VariableManager, "get_vars", ("self",)),
    (InventoryData, "_create_implicit_localhost", ("self", "pattern")),
    (ConfigManager, settled.METHOD, ("self", "plugin_type", "name", "keys", "variables", "direct")),
    (ConfigManager, "get_configuration_definitions", ("self", "plugin_type", "name")),
    (Display, "set_queue", ("self", "queue")),
)
# Inside of ansible-core, by the version from which on they are there.
INNER: tuple[tuple[tuple[int, int], str, str], ...] = (
    ((2, 19), "ansible._internal._ansiballz._builder", "ExtensionManager"),
    ((2, 19), "ansible._internal._datatag._tags", "Origin"),
    ((2, 19), "ansible._internal._task", "TaskContext"),
    ((2, 19), "ansible._internal._templating._engine", "TemplateOptions"),
    ((2, 19), "ansible._internal._templating._jinja_plugins", "JinjaPluginIntercept"),
    ((2, 19), "ansible.module_utils.common.json", "get_module_encoder"),
    ((2, 21), "ansible._internal._worker._inventory_rpc", "InventoryRPC"),
)
NAMES: tuple[tuple[Any, str], ...] = (
    (module_common, "NEW_STYLE_PYTHON_MODULE_RE"),
    (module_common, "REPLACER"),
    (module_common, "_MODULE_UTILS_PATH"),
    (module_common, "_get_collection_metadata"),
    (strategy_plugins, "WorkerProcess"),
)


def moved() -> list[str]:
    """Return what is not as in the tested versions; empty if everything is."""
    if TESTED[0] > CORE:
        return [f"version {VERSION} is older than {'.'.join(map(str, TESTED[0]))}"]
    wrong = [f"{name} has changed" for owner, name, wanted in SEAMS if not _has_parameters(owner, name, wanted)]
    wrong += [f"{name} is gone" for owner, name in NAMES if not hasattr(owner, name)]
    wrong += [f"{name} is gone" for since, module, name in INNER if since <= CORE and not _is_inside(module, name)]
    if HAS_PROFILES and not hasattr(module_common, "_BuiltModule"):
        wrong.append("_BuiltModule is gone")
    if not HAS_PROFILES and not hasattr(module_common, "ACTIVE_ANSIBALLZ_TEMPLATE"):
        wrong.append("AnsiballZ's template is gone")
    return wrong


def _is_inside(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def _has_parameters(owner: Any, name: str, wanted: tuple[str, ...]) -> bool:
    try:
        found = inspect.signature(_decorated(getattr(owner, name)), follow_wrapped=True).parameters
    except (AttributeError, TypeError, ValueError):
        return False
    return all(parameter in found for parameter in wanted)


def _decorated(function: Any) -> Any:
    """Return what a decorator hides that does not tell of it, such as that of ``_bare_run`` in 2.19 and 2.20."""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    hidden = [content for content in cells if inspect.isfunction(content)]
    return hidden[0] if len(hidden) == 1 and not hasattr(function, "__wrapped__") else function
