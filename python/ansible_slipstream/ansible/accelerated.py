"""What every accelerated connection shares: tickets in, results out, failures in stock's words."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from ansible.errors import AnsibleAuthenticationFailure
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.utils.display import Display

from ..client import AgentStart, Closure, Json, Link, ModuleRequest, Result
from ..errors import (
    AgentRefused,
    ChannelClosed,
    ChoresUndone,
    DaemonError,
    LinkLost,
    NeedsEnvironment,
    NeedsStock,
    RequestFailed,
    Unreachable,
)
from . import runtime
from .discovery import Discovery
from .escalation import Escalation, become_secret
from .ticket import WRAPPERS, NotStarted, Ticket, says_evicting

display = Display()

# The agent's first stage: imports nothing from the folder that it is started in, then reads eight digits of
# length and a deflated program. It ends when the channel does, and has no single quote, so that every shell
# takes it. The program finds itself in `s`.
FIRST_STAGE = (
    'import sys;sys.path[:]=[p for p in sys.path if p not in ("",".")];import os,zlib;'
    'exec("def r(n):\\n b=b\\"\\"\\n while len(b)<n:\\n  c=os.read(0,n-len(b))\\n'
    '  if not c:os._exit(1)\\n  b+=c\\n return b");s=r(int(r(8)));exec(zlib.decompress(s))'
)
# A playbook or an inventory that sets one of these means it; a default in ansible.cfg is older than Slipstream.
PIPELINING_VARIABLES = ("ansible_pipelining", "ansible_ssh_pipelining")
# A script is not longer, or its beginning will do.
SCRIPT_MAX = 1 << 16
# Stands for the random part of a become plugin's success marker in an agent's identity.
MARKER_ID = "SLIPSTREAM"


class Lost(AnsibleAuthenticationFailure):  # type: ignore[misc]
    """The link broke while a module was running. Of this base because stock's ssh connection must
    not run the task again: nobody knows what the module has done."""

    # 2.19 and later: nobody has failed to authenticate, and the message is that of the cause.
    _default_message = ""
    _include_cause_message = False


class Accelerated:
    """Mixed into a stock connection class; the subclass tells what its link is."""

    slipstream = True
    slipstream_ticket: Ticket | None = None
    # Agents may be in the way of the next literal command.
    slipstream_evict = False
    # Set while a file is put whose action is known to go on over this very connection.
    slipstream_may_hold = False
    # Set while one of stock's own actions that copy makes its folder.
    slipstream_may_guess = False
    # Set while stock discovers the interpreter.
    slipstream_discovery: Discovery | None = None
    # The key and the start line of the agent that discovery has started.
    slipstream_discovered: tuple[str, str] | None = None
    # What starts an agent without a task's environment, as far as a module has shown by which interpreter.
    slipstream_plain_start: str | None = None
    # Set while stock polls a job.
    slipstream_polls = False
    # Why this connection takes no tickets just now.
    _slipstream_off: str | None = None
    _slipstream_pipelining_set = False

    # Stock's connection provides these.
    become: Any
    _shell: Any
    _play_context: Any

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Set the options as stock does, and note whether a variable sets pipelining."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)  # type: ignore[misc]
        self._slipstream_pipelining_set = any(name in (var_options or ()) for name in PIPELINING_VARIABLES)

    def slipstream_objection(self) -> str | None:
        """Return why this connection can't take tickets just now, or None."""
        if self._slipstream_off is not None:
            return self._slipstream_off
        return "the become plugin needs a terminal" if self._becomes_on_terminal() else None

    @contextlib.contextmanager
    def slipstream_off(self, reason: str) -> Iterator[None]:
        """Behave as the stock connection, settings included, for that reason."""
        self._slipstream_off = reason
        try:
            yield
        finally:
            self._slipstream_off = None

    def slipstream_prepare(self) -> None:
        """Let the shell plugin write the agent's start line where stock asks it for a module's."""
        shell = self._shell
        stock_build = shell.build_module_command

        def build_module_command(env_string: str, shebang: str, cmd: str, arg_path: str | None = None) -> str:
            ticket = self.slipstream_ticket
            if ticket is None or cmd or arg_path:
                return str(stock_build(env_string, shebang, cmd, arg_path))
            stock = str(stock_build(env_string, shebang, "", None)).strip()
            # No environment in the job: there is none, or it has to be there when the interpreter starts.
            start = f"{stock} -c {shlex.quote(FIRST_STAGE)}"
            plain = f"{str(stock_build('', shebang, '', None)).strip()} -c {shlex.quote(FIRST_STAGE)}"
            ticket.lines = (plain if ticket.job["env"] else start, stock)
            self.slipstream_plain_start = plain
            return ticket.lines[0]

        shell.build_module_command = build_module_command

    def slipstream_run(self, link: Link, line: str, ticket: Ticket, host: str, timeout_s: float) -> Result:
        """Run a ticket on the agent that ``line`` starts.

        Raises:
            Unreachable: as the link says; the caller puts it in stock's words.
            NotStarted: stock has to run the module; nothing ran.
            ChoresUndone: what the ticket needs done first could not all be done; nothing ran.
            Lost: the module may have run.
        """
        become = self.become
        became = self.slipstream_becomes(line)
        secret = become_secret(become, self._play_context) if became else b""
        overseer = Escalation(become, secret, timeout_s, self.slipstream_show_escalation)
        client = runtime.client()
        normal_line = line.replace(become._id, MARKER_ID) if became else line
        discovered, started = self.slipstream_discovered or ("", None)
        request = ModuleRequest(
            link=link,
            agent=AgentStart(
                client.agent_key(normal_line, secret), line, became, discovered if started == line else None
            ),
            closure=ticket.closure,
            job=ticket.job,
            params=ticket.params,
            run=runtime.RUN.id,
            private=ticket.private,
            evict=ticket.evict,
            chores=ticket.chores,
            content=ticket.content,
        )
        try:
            result = client.run_module(request, overseer, lambda: self._restore(ticket))
            if became and not overseer.begun:
                # The agent runs already, where stock becomes somebody for every module.
                self.slipstream_show_escalation("Escalation succeeded")
            return result
        except AgentRefused as refused:
            display.debug(f"slipstream: no agent on {host}: {to_text(refused.stderr)}")
            raise NotStarted("the agent was refused") from refused
        except NeedsEnvironment as error:
            # From now on the start line carries it.
            WRAPPERS.add((str(self._play_context.remote_addr), ticket.job["interpreter"]))
            raise NotStarted(str(error), again=True) from error
        except NeedsStock as error:
            raise NotStarted(str(error)) from error
        except LinkLost as lost:
            runtime.drop_client()
            raise Lost(f"{lost} on {host}; it may have run in part and is not run again") from lost
        except ChannelClosed as closed:
            # The request did not get through whole: nothing ran.
            runtime.drop_client()
            raise NotStarted("no daemon: it has gone") from closed
        except RequestFailed as failed:
            # The closure could not be stored again: nothing ran.
            raise NotStarted(f"the closure could not be stored: {failed}") from failed
        except (Unreachable, ChoresUndone):
            raise
        except DaemonError as error:
            runtime.drop_client()
            raise Lost(f"{error} on {host}; the module may have run in part and is not run again") from error

    def slipstream_make_folder(self, make: Callable[[], Any]) -> Any:
        """Make an action's temporary folder in stock's way."""
        return make()

    def slipstream_becomes(self, line: str) -> bool:
        """Tell whether a become plugin wrote a command line."""
        return bool(self.become and self.become.success and self.become.success in line)

    def slipstream_show_escalation(self, words: str) -> None:
        """Tell how a become plugin's prompt was passed, where stock does."""

    def put_file(self, in_path: str, out_path: str) -> Any:
        """Send a file as stock does, and note whether it is a script that agents may be in the way of."""
        # Whoever reads a pipe takes from it.
        if os.path.isfile(in_path):
            with contextlib.suppress(OSError), open(in_path, "rb") as source:
                self.slipstream_evict |= says_evicting(source.read(SCRIPT_MAX).decode("latin-1"))
        return super().put_file(in_path, out_path)  # type: ignore[misc]

    def slipstream_make_room(self, link: Link, line: str) -> None:
        """End idle agents that would be in the way of a literal command."""
        if self.slipstream_evict or says_evicting(line):
            runtime.client().evict(link)

    @staticmethod
    def _restore(ticket: Ticket) -> Closure:
        return ticket.source.compute(runtime.client())

    def slipstream_would_pipeline(self) -> bool:
        """Tell whether stock would pipeline modules."""
        with self.slipstream_off("stock is asked"):
            return bool(self.get_option("pipelining"))  # type: ignore[attr-defined]

    def slipstream_terminal(self) -> Json | None:
        """Return the terminal that stock would start a module on, for a job; None for no terminal."""
        return None

    def slipstream_stock_option(self, value: Any, option: str) -> Any:
        """Return what ``get_option`` says: pipelining is how tickets travel, so it is on unless a variable sets it."""
        stays = self._slipstream_off or self._slipstream_pipelining_set or self._becomes_on_terminal()
        return True if option == "pipelining" and not stays else value

    def _becomes_on_terminal(self) -> bool:
        # Up to 2.18 stock does not ask a plugin whether it can be pipelined; this says the same of those that
        # can't. On a terminal an agent's program would be typed.
        return bool(getattr(self.become, "require_tty", False))


def working_folder() -> str:
    """Return this process's working folder; the root where it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def text_environment() -> dict[str, str]:
    """Return this process's environment as JSON can carry it; what is not UTF-8 is left out."""
    usable = {}
    for name, value in os.environ.items():
        with contextlib.suppress(UnicodeEncodeError):
            (name + value).encode()
            usable[name] = value
    return usable


def short_digest(value: object) -> str:
    """Return an identity for something long."""
    return hashlib.sha256(to_bytes(repr(value))).hexdigest()
