"""Tickets: a module call in a few hundred bytes, in the place of AnsiballZ's payload.

Stock's `_execute_module`, `_configure_module` and `_parse_returned_data` stay as they are. The name
`modify_module` that they look up is ours: for a plain new-style Python module it returns a ticket,
which stock hands to our connection's `exec_command` like any other payload.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import threading
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from ansible import constants
from ansible.errors import AnsibleAuthenticationFailure, AnsibleError
from ansible.executor import module_common
from ansible.module_utils.common.text.converters import to_native
from ansible.plugins import action as action_plugins

from ..client import Json
from ..errors import DaemonError
from . import runtime
from .closures import ClosureSource
from .legacy import traceback_lines
from .polls import paced
from .versions import HAS_PROFILES, OLDEST_INTERPRETER
from .world import ALWAYS

# If a ticket ever reached a target as a program, it would say so.
TICKET_TEXT = b"""print('{"failed": true, "msg": "a slipstream ticket was run as a module: please report it"}')\n"""

# What an agent imports once for all its modules: what each imports first, and what `command` does.
PRELOADED = [*ALWAYS, "glob"]

# These matter when the interpreter starts, or when what is preloaded is imported (UNIX…: distro's): they stay on the
# start line, so they make another agent.
START_VARIABLES = (
    *("PYTHON", "__PYVENV_", "LD_", "LC_", "LANG", "LOCPATH", "DYLD_", "MALLOC_", "GLIBC_", "OPENSSL_", "HOME"),
    *("UNIXCONFDIR", "UNIXUSRLIBDIR"),
)
# What sudo or a shell may make something of, where a become plugin (`sudo -i`) hands the line on: values stay there.
EXPANDED = re.compile(r"[^\t -~]|\$")
# Interpreters that were found to be wrappers, by address of the host: all of the environment goes on the start line.
WRAPPERS: set[tuple[str, str]] = set()
# So many are tried before stock runs a module.
TICKETS = 2
# What stock's command line can set; a shell takes all else for a program's name.
SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Names that dash or bash has for itself: read-only, numbers, or made anew by each shell.
SHELLS_OWN_NAME = re.compile(
    "BASH(OPTS|PID|_ARGV0|_VERSINFO)|DIRSTACK|EPOCH(REALTIME|SECONDS)|E?UID|FUNCNAME|GROUPS|HISTCMD|LINENO|OPTARG|OPTIND"
    "|PPID|(OLD)?PWD|S?RANDOM|SECONDS|SHELLOPTS|SHLVL|_"
)

# Modules that another running process of the account, or its working directory, would stand in the way of.
EVICTING = frozenset(
    {"user", "group", "homectl", "mount", "filesystem", "luks_device", "lvg", "lvol", "parted", "zfs", "zpool"}
)
# What they are told can do the same: command lines, and units of systemd.
EVICTING_BY_WORDS = frozenset({"command", "shell", "service", "systemd", "systemd_service"})
EVICTING_WORDS = re.compile(
    r"\b(?:user(?:del|mod)|deluser|group(?:del|mod)|delgroup|homectl|un?mount|fusermount3?|zpool|cryptsetup"
    r"|pkill|killall|fuser|loginctl)\b|\.(?:auto)?mount\b|\bautofs\b"
)

# Where stock's own action plugins are.
STOCKS_ACTIONS = os.path.join(os.path.dirname(action_plugins.__file__), "")
# Those that copy: they need a home for nothing but a temporary folder.
COPYING = ("copy.py", "template.py", "assemble.py")
# A copy of one file ends with one of these modules, and needs its folder no more.
LAST_OF_COPY = ("copy", "file")


class Ticket(bytes):
    """A module call. Travels by reference; being of this class is what no data can forge."""

    job: Json
    params: bytes
    closure: str
    source: ClosureSource
    private: bool
    evict: bool
    # What its agent does first, and the content of the files of that.
    chores: list[Json]
    content: bytes
    # It is the last that needs the temporary folder, as far as its action can tell.
    tidies: bool
    # What starts its agent, and the command that stock would have run.
    lines: tuple[str, str]


class NotStarted(AnsibleAuthenticationFailure):  # type: ignore[misc]
    """No agent could be started and nothing ran: the module goes through stock Ansible, for the reason it names.

    Of this base because stock's ssh connection must not try again on its own. ``again``: another ticket may do.
    """

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


@dataclass
class _Call:
    action: Any = None
    wrap_async: bool = False


_calls = threading.local()
_stock_modify = action_plugins.modify_module
_stock_configure = action_plugins.ActionBase._configure_module
_stock_execute = action_plugins.ActionBase._execute_module
_stock_transfer = action_plugins.ActionBase._transfer_file
_stock_make_folder = action_plugins.ActionBase._make_tmp_path
_execute_signature = inspect.signature(_stock_execute)


def install() -> None:
    """Put the hooks in place; a second time changes nothing."""
    action_plugins.modify_module = modify_module
    action_plugins.ActionBase._configure_module = _configure_module
    action_plugins.ActionBase._execute_module = _execute_module
    action_plugins.ActionBase._transfer_file = _transfer_file
    action_plugins.ActionBase._make_tmp_path = _make_tmp_path


def _current() -> _Call:
    call = getattr(_calls, "current", None)
    if call is None:
        call = _calls.current = _Call()
    return call


def _configure_module(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Note whose module is being built; stock's lookup, redirects and discovery retry are untouched."""
    call = _current()
    before, call.action = call.action, self
    try:
        return _stock_configure(self, *args, **kwargs)
    finally:
        call.action = before


def _execute_module(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a module; one that asks for a job that is waited for takes as long as under stock."""
    if getattr(self._connection, "slipstream_polls", False):
        return paced(self._connection, functools.partial(_execute_by_ticket, self, *args, **kwargs))
    return _execute_by_ticket(self, *args, **kwargs)


def _execute_by_ticket(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a module by ticket, and through stock what no agent takes."""
    for _ in range(TICKETS):
        try:
            return _execute_noted(self, *args, **kwargs)
        except NotStarted as refused:
            # Stock runs outside of this handler: what it raises has no cause but its own.
            reason, again = refused.reason, refused.again
        if not again:
            break
    with self._connection.slipstream_off(reason):
        return _execute_noted(self, *args, **kwargs)


def _transfer_file(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Let a file of one of stock's own actions wait for the module that it is for.

    Others may go on by ways of their own: another connection, a process that waits for the file, the next task.
    """
    connection = self._connection
    if not getattr(connection, "slipstream", False):
        return _stock_transfer(self, *args, **kwargs)
    connection.slipstream_may_hold = _is_stocks(self)
    try:
        return _stock_transfer(self, *args, **kwargs)
    finally:
        connection.slipstream_may_hold = False


def _make_tmp_path(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Let an action of stock's own that copies make its folder by what is known of the account."""
    connection = self._connection
    if not getattr(connection, "slipstream", False) or not _is_stocks(self, COPYING):
        return _stock_make_folder(self, *args, **kwargs)
    return connection.slipstream_make_folder(functools.partial(_stock_make_folder, self, *args, **kwargs))


def _is_stocks(action: Any, names: Container[str] = ()) -> bool:
    """Tell whether an action is one of stock's own, of these names if there are any."""
    path = inspect.getfile(type(action))
    return path.startswith(STOCKS_ACTIONS) and (not names or os.path.basename(path) in names)


def _execute_noted(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Note whether the module is wrapped for async."""
    call = _current()
    before = call.wrap_async
    call.wrap_async = bool(_execute_signature.bind(self, *args, **kwargs).arguments.get("wrap_async"))
    try:
        return _stock_execute(self, *args, **kwargs)
    finally:
        call.wrap_async = before
        if getattr(self._connection, "slipstream_ticket", None) is not None:
            self._connection.slipstream_ticket = None


def modify_module(
    module_name: str,
    module_path: str,
    module_args: Json,
    templar: Any,
    task_vars: Json | None = None,
    **kwargs: Any,
) -> Any:
    """Return a ticket where one will do, stock's payload elsewhere, both in this version's type."""
    call = _current()
    task_vars = {} if task_vars is None else task_vars
    with open(module_path, "rb") as module:
        content = module.read()
    reason = _reason_for_stock(call, content)
    if reason is None:
        try:
            return _ticket_for(call.action, module_name, module_path, module_args, templar, task_vars, content, kwargs)
        except DaemonError as error:
            runtime.drop_client()
            reason = f"no daemon: {type(error).__name__}"
    connection = getattr(call.action, "_connection", None)
    if connection is not None and getattr(connection, "slipstream", False):
        # What wraps a module for async comes after it.
        connection.slipstream_evict |= _evicts(module_name, module_args, kwargs.get("environment"))
        runtime.count_stock(reason)
    return _stock_modify(
        module_name=module_name,
        module_path=module_path,
        module_args=module_args,
        templar=templar,
        task_vars=task_vars,
        **kwargs,
    )


def _reason_for_stock(call: _Call, content: bytes) -> str | None:
    """Return why stock has to run this module, or None."""
    action = call.action
    if action is None or not getattr(action._connection, "slipstream", False):
        return "connection"
    reason: str | None = action._connection.slipstream_objection()
    if reason is not None:
        return reason
    if call.wrap_async or action._task.async_val:
        return "async"
    if constants.DEFAULT_KEEP_REMOTE_FILES:
        return "keep_remote_files"
    if not action._is_pipelining_enabled("new", False):
        return "no pipelining: a variable, a tty or the become plugin"
    if module_common._is_binary(content):
        return "binary module"
    if module_common.REPLACER in content or not module_common.NEW_STYLE_PYTHON_MODULE_RE.search(content):
        return "not a new-style Python module"
    if os.environ.get("_ANSIBLE_COVERAGE_CONFIG"):
        return "coverage"
    return None


def _ticket_for(
    action: Any,
    name: str,
    path: str,
    args: Json,
    templar: Any,
    task_vars: Json,
    content: bytes,
    stock: Json,
) -> Any:
    if HAS_PROFILES and _has_extensions(task_vars):
        runtime.count_stock("debugger or coverage extension")
        return _stock_modify(
            module_name=name, module_path=path, module_args=args, templar=templar, task_vars=task_vars, **stock
        )
    fqn = _fqn(name, path)
    client = runtime.client()
    source = ClosureSource(name, path, fqn, content, task_vars, runtime.RUN.id, runtime.settings().minify)
    closure = source.get(client)
    shebang = _shebang(content, task_vars, templar, stock)
    ticket = Ticket(TICKET_TEXT)
    ticket.params = _params(name, args, closure.meta["profile"])
    ticket.closure = closure.digest
    ticket.source = source
    ticket.chores, ticket.content = [], b""
    ticket.tidies = _ends_copy(action, name, args)
    ticket.private = bool(args.get("_ansible_no_log"))
    ticket.evict = _evicts(name, args, stock.get("environment"))
    ticket.job = {
        "name": name,
        "fqn": fqn,
        "profile": closure.meta["profile"],
        "legacy": not HAS_PROFILES,
        "zip": closure.meta["zip"],
        "env": _environment(action, shebang),
        "interpreter": _interpreter(shebang),
        "rlimit_nofile": _rlimit(task_vars, templar),
        "preload": PRELOADED,
        "oldest": OLDEST_INTERPRETER,
        "terminal": action._connection.slipstream_terminal(),
    }
    if not HAS_PROFILES:
        ticket.job["frames"] = traceback_lines(bool(ticket.job["rlimit_nofile"]))
    action._connection.slipstream_ticket = ticket
    if HAS_PROFILES:
        return module_common._BuiltModule(
            b_module_data=ticket,
            module_style="new",
            shebang=shebang,
            serialization_profile=closure.meta["profile"],
        )
    return ticket, "new", shebang


def _ends_copy(action: Any, name: str, args: Json) -> bool:
    """Tell whether stock's own copy ends with this module; one of a tree, whose destination has a slash, goes on."""
    ends = name.rpartition(".")[2] in LAST_OF_COPY and not args.get("_diff_peek")
    return ends and not str(args.get("dest", "/")).endswith("/") and _is_stocks(action, COPYING[:1])


def _evicts(name: str, args: Json, environment: Json | None) -> bool:
    """Tell whether other agents' processes may be in the module's way."""
    module = name.rpartition(".")[2]
    if module in EVICTING_BY_WORDS:
        told = [args.get("_raw_params"), *(args.get("argv") or ()), args.get("stdin"), args.get("name")]
        return any(says_evicting(str(word)) for word in (*told, *(environment or {}).values()))
    return module in EVICTING


def says_evicting(text: str) -> bool:
    """Tell whether a command line or a script names what processes may be in the way of."""
    return EVICTING_WORDS.search(text) is not None


def _has_extensions(task_vars: Json) -> bool:
    from ansible._internal._ansiballz import _builder

    return bool(_builder.ExtensionManager.create(task_vars=task_vars).extension_names)


def _fqn(name: str, path: str) -> str:
    try:
        return str(module_common._get_ansible_module_fqn(path))
    except ValueError:
        # Modules of roles and playbooks have no name of their own.
        return f"ansible.legacy.{name}" if HAS_PROFILES else f"ansible.modules.{name}"


def _shebang(content: bytes, task_vars: Json, templar: Any, stock: Json) -> str:
    """Return the interpreter line; raises InterpreterDiscoveryRequiredError, which stock waits for."""
    interpreter, args = module_common._extract_interpreter(content)
    shebang, _ = module_common._get_shebang(
        interpreter or "/usr/bin/python",
        task_vars,
        templar,
        args,
        remote_is_local=stock.get("remote_is_local", False),
    )
    return str(shebang)


def _interpreter(shebang: str) -> str:
    """Return the name or the path that the line begins with."""
    return (shebang[2:].split(None, 1) or [""])[0]


def _params(name: str, args: Json, profile: str | None) -> bytes:
    """Encode the arguments as this version's AnsiballZ does, with its error message."""
    params = {"ANSIBLE_MODULE_ARGS": args}
    if HAS_PROFILES:
        from ansible.module_utils.common.json import Direction, get_module_encoder

        try:
            encoder = get_module_encoder(profile, Direction.CONTROLLER_TO_MODULE)
            return json.dumps(params, cls=encoder).encode()
        except TypeError as error:
            raise AnsibleError(f"Failed to serialize arguments for the {name!r} module.") from error
    from ansible.module_utils.common.json import AnsibleJSONEncoder

    try:
        return json.dumps(params, cls=AnsibleJSONEncoder, vault_to_text=True).encode()
    except TypeError as error:
        words = "Unable to pass options to module, they must be JSON serializable: "
        raise AnsibleError(words + to_native(error)) from error


def _environment(action: Any, shebang: str) -> dict[str, str]:
    """Return the task's environment, empty where the start line has to carry it.

    Raises:
        DaemonError: it is not text that JSON can carry, or no shell takes a name; stock has to run the module.
    """
    raw: Json = {}
    action._compute_environment_string(raw)
    environment = {str(name): str(value) for name, value in raw.items()}
    try:
        "".join([*environment, *environment.values()]).encode()
    except UnicodeEncodeError as error:
        raise DaemonError("the task's environment is not UTF-8") from error
    if not all(map(SHELL_NAME.fullmatch, environment)):
        raise DaemonError("a name in the task's environment is none that a shell takes")
    if any(map(SHELLS_OWN_NAME.fullmatch, environment)):
        raise DaemonError("a name in the task's environment is one of the shell's own")
    if (str(action._play_context.remote_addr), _interpreter(shebang)) in WRAPPERS:
        return {}
    searched = ("PATH" in environment and not shebang.startswith("#!/")) or "/env " in shebang
    at_start = any(name.startswith(START_VARIABLES) for name in environment)
    expanded = action._connection.become and any(map(EXPANDED.search, environment.values()))
    return {} if at_start or searched or expanded else environment


def _rlimit(task_vars: Json, templar: Any) -> int:
    limit = constants.config.get_config_value("PYTHON_MODULE_RLIMIT_NOFILE", variables=task_vars)
    if isinstance(limit, int):
        return limit
    if not HAS_PROFILES:
        return int(templar.template(limit))
    from ansible._internal._templating._engine import TemplateOptions

    return int(templar._engine.template(limit, options=TemplateOptions(value_for_omit=0)))
