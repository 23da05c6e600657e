"""Chores of an ssh connection: an agent does them, they wait for what follows, or stock's shell does them."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import tempfile
from collections.abc import Callable
from typing import Any

from ansible import constants
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.connection.ssh import display

from ..client import AgentStart, ChoresDone, Json, Link, Result
from ..errors import ChoresUndone, LinkLost
from . import runtime
from .accelerated import Accelerated
from .chores import KNOWN, Chores, GuessedWrong, HeldFile, HeldMode, Known
from .ticket import Ticket

SSH_FAILED = 255


class SshChores(Accelerated):
    """Mixed into stock's ssh connection class, below what moves commands and files."""

    host: str
    # The temporary folder that one of stock's copying actions has made.
    _copys_folder = ""

    @functools.cached_property
    def _chores(self) -> Chores:
        return Chores()

    def slipstream_make_folder(self, make: Callable[[], Any]) -> Any:
        """Make an action's temporary folder in stock's way, by what is known of the account if it is."""
        try:
            return self._make_by_guess(make)
        except GuessedWrong as wrong:
            display.debug(f"slipstream: {wrong}", host=self.host)
            return make()
        finally:
            self._copys_folder = self._chores.folder

    def _make_by_guess(self, make: Callable[[], Any]) -> Any:
        self.slipstream_may_guess = True
        try:
            return make()
        finally:
            self.slipstream_may_guess = False
            self._chores.guessed = None

    def _do_chore(self, link: Link, line: str) -> Result | None:
        """Have an agent do what a command line is for, and what waits for it; None for what a shell has to run."""
        chores = self._chores
        chore = chores.of(line)
        known = KNOWN[runtime.client().link_key(link)]
        if chore is None or self.slipstream_objection():
            self._check_guess(known, "the folder is made in another way")
            return None
        if chore["do"] == "remove" and chores.tidied:
            return Result(0, known.noise[0] + chores.done(chore, "", known).encode(), known.noise[1])
        if chores.may_wait(chore):
            chores.held.append(HeldMode(line, chore))
            return Result(0, *known.noise)
        if self.slipstream_may_guess:
            said = chores.guess(chore, known)
            if said is not None:
                return Result(0, known.noise[0] + said.encode(), known.noise[1])
        if chore["do"] == "remove":
            # What waits to be written there would go with it.
            chores.held = []
        return self._do_now(link, line, chore, known)

    def _do_now(self, link: Link, line: str, chore: Json, known: Known) -> Result | None:
        try:
            outcome = self._do_held(link, line, chore)
        except LinkLost as lost:
            runtime.drop_client()
            # As ssh would say it: stock tries again, as often as it is told to.
            return Result(SSH_FAILED, b"", f"{lost}\n".encode())
        if outcome is None or outcome.why:
            why = outcome.why if outcome else "no agent"
            display.debug(f"slipstream: stock does {chore['do']}: {why}")
            self._check_guess(known, why)
            return None
        known.noise = outcome.stdout, outcome.stderr
        said = self._chores.done(chore, outcome.said, known)
        return Result(0, outcome.stdout + said.encode(), outcome.stderr)

    def _check_guess(self, known: Known, why: str) -> None:
        """Have the folder asked for anew if a home was guessed and it could not be made there."""
        if self._chores.guessed is not None:
            known.guesses_fail = True
            raise GuessedWrong(why)

    def _do_held(self, link: Link, line: str = "", *chores: Json) -> ChoresDone | None:
        """Do what waits, then these chores; None if there is nothing to do, or no agent for it."""
        held = self._chores.held
        wanted = [*(item.chore for item in held), *chores]
        if not wanted:
            return None
        agent = self._login_agent(line)
        shell = line.partition(" -c ")[0]
        outcome = runtime.client().do_chores(link, shell, agent, wanted, self._chores.content, runtime.RUN.id)
        if outcome is None:
            self._do_held_by_stock()
            return None
        # Stock may be told to try again.
        self._chores.held = held[outcome.done :]
        if outcome.done < len(held):
            raise held[outcome.done].failure(outcome.why)
        return outcome

    def _do_held_by_stock(self) -> None:
        """Do what waits as stock does; what fails waits on, for stock's next try."""
        held, self._chores.held = self._chores.held, []
        # The command that is about to run has its password in it.
        pipe, self.sshpass_pipe = getattr(self, "sshpass_pipe", None), None
        try:
            while held:
                self._do_one_by_stock(held[0])
                del held[0]
        finally:
            self._chores.held, self.sshpass_pipe = held, pipe

    def _do_one_by_stock(self, item: HeldFile | HeldMode) -> None:
        if isinstance(item, HeldMode):
            rc, _, stderr = self.exec_command(item.line, sudoable=False)  # type: ignore[attr-defined]
            if rc:
                raise item.failure(to_text(stderr))
            return
        # As private as the file that it is a copy of may have been.
        with tempfile.NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP) as source:
            source.write(item.content)
            source.flush()
            os.fchmod(source.fileno(), item.mode)
            super()._file_transport_command(source.name, item.out_path, "put")  # type: ignore[misc]

    def _run_ticket(self, link: Link, line: str, ticket: Ticket, timeout_s: float) -> Result:
        """Run a ticket, with what waits for it if its agent is of the login account."""
        chores = self._chores
        held = chores.held
        if self.slipstream_becomes(line):
            self._do_held(link)
            held = []
        elif ticket.tidies and chores.folder and chores.folder == self._copys_folder:
            ticket.job["then"] = [{"do": "remove", "path": chores.folder}]
        ticket.chores, ticket.content = [item.chore for item in held], b"".join(item.content for item in held)
        try:
            result = self.slipstream_run(link, line, ticket, self.host, timeout_s)
        except ChoresUndone:
            # One by one it will say what is wrong with them.
            self._do_held(link)
            ticket.chores, ticket.content = [], b""
            result = self.slipstream_run(link, line, ticket, self.host, timeout_s)
        chores.held = []
        chores.tidied = result.tidied
        return result

    def _login_agent(self, line: str) -> AgentStart | None:
        """Return what starts an agent of the login account where a chore's command line would have run."""
        if not line or self.slipstream_plain_start is None:
            return None
        start = self._chores.instead(line, self.slipstream_plain_start)
        return AgentStart(runtime.client().agent_key(start, b""), start, False)

    def _hold(self, in_path: str, out_path: str) -> bool:
        """Keep a small file for the next command, if nobody can miss it until then."""
        if not self.slipstream_may_hold:
            return False
        with contextlib.suppress(OSError, UnicodeEncodeError):
            out_path.encode()
            found = os.stat(in_path)
            if stat.S_ISREG(found.st_mode) and self._chores.has_room_for(out_path, found.st_size):
                with open(in_path, "rb") as source:
                    content = source.read()
                mode = stat.S_IMODE(found.st_mode) & 0o777
                self._chores.held.append(HeldFile(in_path, out_path, mode, content))
                return True
        return False
