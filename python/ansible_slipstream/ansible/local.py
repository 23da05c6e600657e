"""The local connection: modules in an agent that is a child of the daemon."""

from __future__ import annotations

import os
from typing import Any

from ansible import constants
from ansible.module_utils.common.text.converters import to_text
from ansible.utils.display import Display

from ..client import Link
from ..errors import DaemonError, Unreachable
from . import runtime, shown
from .accelerated import Accelerated, short_digest, text_environment, working_folder
from .lanes import baton
from .ticket import NotStarted, Ticket

display = Display()

# The shell and the terminal change these for every command; no agent is worth starting over for them.
VOLATILE = frozenset({"_", "OLDPWD", "SHLVL", "WINDOWID", "COLUMNS", "LINES"})
PROMPT_TIMEOUT_S = 10.0


class LocalConnection(Accelerated):
    """Mixed into stock's local connection class. Literal commands and files stay stock's: they are local."""

    # Bytes up to 2.18.
    cwd: str | bytes | None

    def get_option(self, option: str, hostvars: Any = None) -> Any:
        value = super().get_option(option, hostvars)  # type: ignore[misc]
        return self.slipstream_stock_option(value, option)

    def slipstream_objection(self) -> str | None:
        objection = super().slipstream_objection()
        if objection is None and self.become is not None and self.become.expect_prompt():
            # Stock's local connection has checks of its own for prompts, different in every version.
            return "local become with a password"
        return objection

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a ticket on an agent, everything else as stock does."""
        if not isinstance(in_data, Ticket):
            exec_command = super().exec_command  # type: ignore[misc]
            try:
                self.slipstream_make_room(self._link(), to_text(cmd))
            except DaemonError:
                runtime.drop_client()
            with baton.waiting():
                return exec_command(cmd, in_data=in_data, sudoable=sudoable)  # type: ignore[no-any-return]
        self._connect()  # type: ignore[attr-defined]
        display.vvv(f"EXEC {shown.start_line(to_text(cmd), *in_data.lines)}", host=self._play_context.remote_addr)
        host = str(self._play_context.remote_addr)
        try:
            result = self.slipstream_run(self._link(), to_text(cmd), in_data, host, PROMPT_TIMEOUT_S)
        except (Unreachable, DaemonError) as error:
            runtime.drop_client()
            raise NotStarted(f"no local agent: {type(error).__name__}") from error
        except NotStarted:
            raise
        except Exception as error:
            if type(error).__name__ != "AnsibleError":
                raise
            # A become plugin that says no before anything ran: stock's own words, not ssh's.
            raise NotStarted("the become plugin said no") from error
        return result.rc, result.stdout, result.stderr

    def _link(self) -> Link:
        environment = text_environment()
        lasting = sorted(item for item in environment.items() if item[0] not in VOLATILE)
        os.umask(umask := os.umask(0))
        executable = constants.DEFAULT_EXECUTABLE
        return Link(
            transport="local",
            host="localhost",
            argv=[executable.split()[0] if executable else "/bin/sh"],
            env=environment,
            identity_env={"environment": short_digest(lasting)},
            cwd=to_text(self.cwd or working_folder()),
            umask=umask,
            linger=runtime.settings().linger_s,
            compression="off",
            target_cache="",
        )
