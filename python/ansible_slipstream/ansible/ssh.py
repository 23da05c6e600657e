"""The ssh connection: stock's options, argument vector, retries and error texts over our link."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
import re
import shutil
import stat
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_native, to_text
from ansible.plugins import shell as shell_plugins
from ansible.plugins.connection import ssh as stock_ssh

from ..client import AgentStart, Json, Link, Result
from ..errors import DaemonError, NoAgent, RequestFailed, Unreachable
from . import options, runtime, shown, ssh_arguments
from .accelerated import text_environment, working_folder
from .chores import GuessedWrong
from .fetched import into_place
from .lanes import baton
from .ssh_chores import SSH_FAILED, SshChores
from .ticket import NotStarted, Ticket

display = stock_ssh.display

# What in the environment makes another link: what ssh itself and its helpers read, and what stock
# Debian and Fedora configurations send on to the target (SendEnv LANG LC_*).
LINK_VARIABLES = frozenset(
    {"HOME", "USER", "LOGNAME", "PATH", "LANG", "LANGUAGE", "XMODIFIERS", "SSH_AUTH_SOCK", "SSH_SK_PROVIDER"}
)
LINK_PREFIXES = ("LC_", "KRB5")

STOCKS_SHELLS = os.path.join(os.path.dirname(shell_plugins.__file__), "")

# What sshpass returns for a wrong password; stock's error handling knows it.
SSHPASS_DENIED = 5
# What ssh, or the daemon for it, says when it does not get to a host, or not in.
WORDS_OF_SSH = re.compile(
    rb"^ssh: connect to host|^Connection (?:closed|reset|timed out)|^(?:kex|ssh)_exchange_identification|^slipstreamd "
    rb"|^channel \d+: open failed|^stdio forwarding|Permission denied|^Host key verification failed"
    rb"|Too many authentication failures",
    re.MULTILINE,
)
# Why there are no links.
NO_SSH = "another program stands in ssh's place"
# Executables of which that is to be assumed, and for which host; known to this process.
_not_ssh: set[tuple[str, str]] = set()
# What the daemon returns when it can't execute ssh.
NOT_EXECUTED = 127
# One-letter options of ssh that say where its master is, or to be one; the one that deflates, which we do.
OF_MASTERS = b"MS"
DEFLATES = b"C"


class SshConnection(SshChores):
    """Mixed into stock's ssh connection class."""

    host: str
    user: str
    control_path: str | None
    _flags: dict[str, bool]

    def get_option(self, option: str, hostvars: Any = None) -> Any:
        value = super().get_option(option, hostvars)  # type: ignore[misc]
        if option == "pipelining" and self._has_no_ssh():
            return value
        return self.slipstream_stock_option(value, option)

    def _bare_run(
        self, cmd: list[bytes], in_data: bytes | None, sudoable: bool = True, checkrc: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a ticket on an agent, everything else as the literal command, over one link.

        Stock's `exec_command` and `_run` around this keep their retries and their error texts.
        """
        executable = to_text(self.get_option("ssh_executable"))
        if self._has_no_ssh():
            return self._run_without_ssh(cmd, in_data, sudoable, checkrc)
        helper, ssh = ssh_arguments.split_sshpass(cmd)
        unreachable = None
        try:
            link = self._link(self._master_arguments(ssh))
            answered = None if in_data or sudoable else self._do_chore(link, to_text(cmd[-1]))
            if answered is not None:
                self._close_sshpass_pipe()
                shown.command(self.host, cmd)
                return answered.rc, answered.stdout, answered.stderr
            if isinstance(in_data, Ticket):
                self._close_sshpass_pipe()
                line = shown.start_line(to_text(cmd[-1]), *in_data.lines)
                shown.command(self.host, [*cmd[:-1], line.encode()])
                result = self._run_ticket(link, to_text(cmd[-1]), in_data, 2 + float(self.get_option("timeout")))
                if result.rc == SSH_FAILED and checkrc:
                    # The module's own code, but stock can't tell it from ssh's.
                    raise self._not_sent(result.stderr)
                return result.rc, result.stdout, result.stderr
            self._do_held(link)
            discovered = self._discover(link, to_text(cmd[-1]), in_data)
            if discovered is not None:
                self._close_sshpass_pipe()
                shown.command(self.host, cmd)
                return discovered.rc, discovered.stdout, discovered.stderr
            opened = runtime.client().open_link(link)
            self.slipstream_make_room(link, to_text(cmd[-1]))
        except GuessedWrong:
            self._close_sshpass_pipe()
            raise
        except Unreachable as error:
            if self._is_no_ssh(executable, error):
                return self._run_without_ssh(cmd, in_data, sudoable, checkrc)
            unreachable = error
        except DaemonError as error:
            runtime.drop_client()
            if isinstance(in_data, Ticket):
                raise NotStarted(f"no daemon: {type(error).__name__}") from error
            display.vv(f"slipstream: {error}; stock ssh takes over", host=self.host)
            self._do_held_by_stock()
            return self._stock_bare_run(cmd, in_data, sudoable, checkrc)
        if unreachable is not None:
            # Outside of the handler: what is raised has no cause but its own.
            self._close_sshpass_pipe()
            return self._no_link(helper, in_data, checkrc, unreachable)
        control_path = opened.control_path.replace("%", "%%").encode()
        over_link = [b"-o", b"ControlMaster=no", b"-o", b'ControlPath="%s"' % control_path]
        with shown.without(over_link):
            literal = [*helper, ssh[0], *over_link, *self._without_masters(ssh)[1:]]
            rc, stdout, stderr = self._stock_bare_run(literal, in_data, sudoable, checkrc)
        runtime.count_bytes(link, len(cmd[-1]) + len(in_data or b""), len(stdout) + len(stderr))
        if not opened.is_users:
            stderr = ssh_arguments.last_words(ssh, stderr, is_named_by_stock=not link.masters)
        return rc, stdout, opened.said + stderr

    @staticmethod
    def _split_ssh_args(argstring: str) -> list[str]:
        """Split as stock does: the same few strings, a dozen times for every task."""
        return list(ssh_arguments.split(argstring))

    def _is_tty_requested(self) -> bool:
        """Parse the arguments for a terminal as stock does from 2.19 on: the same few, thrice for every task."""
        return ssh_arguments.ask_for_tty(self.get_option, super()._is_tty_requested)  # type: ignore[misc]

    def slipstream_objection(self) -> str | None:
        return NO_SSH if self._has_no_ssh() else super().slipstream_objection()

    def slipstream_terminal(self) -> Json | None:
        if self.slipstream_would_pipeline() or not self.get_option("use_tty"):
            return None
        name = os.environ.get("TERM", "")
        return {"term": name if name.isascii() else ""}

    def slipstream_prepare(self) -> None:
        super().slipstream_prepare()
        # What a third party's shell plugin writes may mean something else.
        stocks_own = inspect.getfile(type(self._shell)).startswith(STOCKS_SHELLS)
        if self._shell.SHELL_FAMILY == "sh" and stocks_own:
            self._chores.watch(self._shell)

    def slipstream_show_escalation(self, words: str) -> None:
        shown.escalation(self.host, words)

    def _discover(self, link: Link, line: str, in_data: bytes | None) -> Result | None:
        """Run interpreter discovery's question and start the agent that it leads to; None for anything else."""
        discovery = self.slipstream_discovery
        if discovery is None or self.slipstream_objection():
            return None
        if second := discovery.second_answer(in_data):
            return Result(0, f"{second}\n".encode(), b"")
        if not discovery.asks(line):
            return None
        start = AgentStart(discovery.key, discovery.line(line), False)
        result = runtime.client().discover(link, start, discovery.chooser)
        taken = discovery.take(line, to_text(result.stdout)) if result else None
        if result is None or taken is None:
            # It is stock's to ask, and to complain.
            return None
        answer, start_line = taken
        self.slipstream_discovered = None if start_line is None else (discovery.key, start_line)
        return dataclasses.replace(result, rc=0, stdout=to_bytes(answer))

    def _stock_bare_run(
        self, cmd: list[bytes], in_data: bytes | None, sudoable: bool, checkrc: bool
    ) -> tuple[int, bytes, bytes]:
        bare_run = super()._bare_run  # type: ignore[misc]
        with baton.waiting():
            return bare_run(cmd, in_data, sudoable=sudoable, checkrc=checkrc)  # type: ignore[no-any-return]

    def _master_arguments(self, ssh: list[bytes]) -> list[bytes]:
        """Return the arguments of ssh's master for a command; sftp and scp have other ones than ssh."""
        if ssh[0] != to_text(self.get_option("ssh_executable")).encode():
            return self._ssh_vector()
        # Destination and command come last, perhaps with the wish for a terminal before them.
        return ssh[:-3] if ssh[-3] == b"-tt" else ssh[:-2]

    def _without_masters(self, ssh: list[bytes]) -> list[bytes]:
        """Return a command without options about masters that win over ours."""
        arguments = self._master_arguments(ssh)
        if arguments != ssh[: len(arguments)]:
            # To sftp and scp they mean something else.
            return ssh
        return [*ssh_arguments.without(tuple(arguments), OF_MASTERS), *ssh[len(arguments) :]]

    def _users_masters(self, arguments: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the arguments by which ssh finds a master of the user's own; none if its socket is as stock names it.

        Nobody else knows that name, and stock names one only where nothing else does.
        """
        named_by_stock = self.control_path and not self.get_option("control_path")
        if named_by_stock and ssh_arguments.without(arguments, OF_MASTERS) == arguments:
            return ()
        return ssh_arguments.without(arguments, DEFLATES)

    def _link(self, ssh: list[bytes]) -> Link:
        """Return the link that a command with these arguments uses."""
        secret = self._login_secret()
        environment = text_environment()
        arguments = tuple(ssh)
        return Link(
            transport="ssh",
            host=to_text(self.host),
            argv=[to_text(word) for word in ssh_arguments.without(arguments, OF_MASTERS + DEFLATES)],
            masters=[to_text(word) for word in self._users_masters(arguments)],
            env=environment,
            identity_env=_of_the_link(environment),
            cwd=working_folder(),
            umask=0o077,
            linger=runtime.settings().linger_s,
            compression=options.compression(self),
            target_cache=options.target_cache(self),
            prompt=self._password_prompt() if secret else None,
            ask_once=self._uses_sshpass(),
            secret=to_text(secret).encode() if secret else b"",
        )

    def _login_secret(self) -> Any:
        """Return what stock answers ssh's question with, if it may.

        Raises:
            AnsibleError: a smart card's key is wanted, and there is no PIN.
        """
        with contextlib.suppress(KeyError):
            if self.get_option("password_mechanism") == "disable":
                return None
        secret = self.get_option("password") or self._play_context.password
        if not secret and self._card_provider():
            raise AnsibleError("to use pkcs11_provider you must specify a password/pin")
        return secret

    def _card_provider(self) -> str | None:
        """Return the library of a smart card whose key is wanted."""
        with contextlib.suppress(KeyError):
            return self.get_option("pkcs11_provider")  # type: ignore[no-any-return]
        return None

    def _ssh_vector(self) -> list[bytes]:
        """Return ssh's arguments as stock builds them, without what sshpass needs."""
        command = self._build_command(self.get_option("ssh_executable"), "ssh")  # type: ignore[attr-defined]
        _, ssh = ssh_arguments.split_sshpass(command)
        return ssh

    def _password_prompt(self) -> str:
        """Return what ssh's question must contain, as stock's helpers have it."""
        with contextlib.suppress(KeyError):
            if prompt := self.get_option("sshpass_prompt"):
                return str(prompt)
        return "Enter PIN for " if self._card_provider() else "assword"

    def _uses_sshpass(self) -> bool:
        """Tell whether stock would hand the password over by sshpass, which gives up at a second question."""
        try:
            return bool(self.get_option("password_mechanism") == "sshpass")
        except KeyError:
            # Up to 2.18 there is nothing else.
            return True

    def _close_sshpass_pipe(self) -> None:
        """Close what stock up to 2.20 opens while it builds a command that sshpass would run."""
        for descriptor in getattr(self, "sshpass_pipe", None) or ():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.sshpass_pipe = None

    def _is_no_ssh(self, executable: str, error: Unreachable) -> bool:
        """Tell whether there is no link because something else stands in ssh's place, and remember that.

        Such as a program that takes a host and a command from where stock puts them. One that hands its arguments on
        to ssh says what ssh says. Of what can't be executed stock has the words.
        """
        if error.rc == NOT_EXECUTED:
            return True
        names_host = re.search(rb"(?<![\w.-])%s(?![\w-])" % re.escape(to_bytes(self.host)), error.stderr)
        is_silent = error.rc == SSH_FAILED and not error.stderr
        if names_host or is_silent or error.denied or WORDS_OF_SSH.search(error.stderr) or _is_ssh(executable):
            return False
        _not_ssh.add((executable, to_text(self.host)))
        return True

    def _run_without_ssh(
        self, cmd: list[bytes], in_data: bytes | None, sudoable: bool, checkrc: bool
    ) -> tuple[int, bytes, bytes]:
        """Run a command as stock does, or say that nothing has run."""
        if isinstance(in_data, Ticket):
            self._close_sshpass_pipe()
            raise NotStarted(NO_SSH)
        self._do_held_by_stock()
        return self._stock_bare_run(cmd, in_data, sudoable, checkrc)

    def _has_no_ssh(self) -> bool:
        if not _not_ssh:
            return False
        host = self.get_option("host") or self._play_context.remote_addr
        return (to_text(self.get_option("ssh_executable")), to_text(host)) in _not_ssh

    def _no_link(
        self, helper: list[bytes], in_data: bytes | None, checkrc: bool, error: Unreachable
    ) -> tuple[int, bytes, bytes]:
        """Say that there is no link as stock says that ssh failed."""
        secret = self.get_option("password") or self._play_context.password
        unknown_key = b"Host key verification failed" in error.stderr
        if secret and unknown_key and self.get_option("host_key_checking"):
            raise AnsibleError(
                "Using a SSH password instead of a key is not possible because Host Key checking is enabled "
                "and sshpass does not support this.  Please add this host's fingerprint to your known_hosts "
                "file to manage this host."
                if helper and not hasattr(stock_ssh, "SSH_ASKPASS_DEFAULT_PROMPT")
                else "Using a SSH password instead of a key is not possible because Host Key checking is enabled. "
                "Please add this host's fingerprint to your known_hosts file to manage this host."
            )
        if error.denied and self._uses_sshpass():
            return SSHPASS_DENIED, b"", error.stderr
        if 0 < error.rc < SSH_FAILED:
            # Not ssh's: that of a program in its place.
            return error.rc, b"", error.stderr
        if in_data and checkrc:
            raise self._not_sent(error.stderr)
        return SSH_FAILED, b"", error.stderr

    def _not_sent(self, stderr: bytes) -> AnsibleConnectionFailure:
        return AnsibleConnectionFailure(
            f'Data could not be sent to remote host "{self.host}". Make sure this host can be reached '
            f"over ssh: {to_native(stderr)}"
        )

    def _file_transport_command(self, in_path: str, out_path: str, sftp_action: str) -> tuple[int, bytes, bytes]:
        """Move a file through an agent of the login account, or as stock does where there is none."""
        if sftp_action == "put" and self._hold(in_path, out_path):
            shown.transfer(self, in_path, out_path, sftp_action)
            return 0, b"", b""
        if self._has_no_ssh():
            self._do_held_by_stock()
            return super()._file_transport_command(in_path, out_path, sftp_action)  # type: ignore[misc,no-any-return]
        link = self._link(self._ssh_vector())
        self._close_sshpass_pipe()
        try:
            (in_path + out_path).encode()
            self._do_held(link)
            if sftp_action == "put":
                self._put(link, in_path, out_path)
            else:
                into_place(out_path, functools.partial(runtime.client().fetch, link, in_path, runtime.RUN.id))
            shown.transfer(self, in_path, out_path, sftp_action)
            return 0, b"", b""
        except RequestFailed as failed:
            raise AnsibleError(f"failed to transfer file to {in_path} {out_path}:\n\n{failed}\n") from failed
        except (DaemonError, OSError, UnicodeEncodeError) as error:
            # Of what can't be opened here it has the words; where the link was lost it logs in again, as
            # it would have: unlike a module, a file may be moved twice.
            display.debug(f"slipstream: stock moves the file: {error}", host=self.host)
            if isinstance(error, DaemonError) and not isinstance(error, NoAgent | Unreachable):
                runtime.drop_client()
        self._do_held_by_stock()
        moved: tuple[int, bytes, bytes] = super()._file_transport_command(  # type: ignore[misc]
            in_path, out_path, sftp_action
        )
        # A piped file has been counted as a command's input or output.
        if self.get_option("ssh_transfer_method") != "piped":
            with contextlib.suppress(OSError):
                up, down = (os.path.getsize(in_path), 0) if sftp_action == "put" else (0, os.path.getsize(out_path))
                runtime.count_bytes(link, up, down)
        return moved

    @staticmethod
    def _put(link: Link, in_path: str, out_path: str) -> None:
        with open(in_path, "rb") as source:
            mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode) & 0o777
            runtime.client().put(link, out_path, mode, runtime.RUN.id, source.fileno())

    def reset(self) -> None:
        """End our link with its agents, then what stock may have opened."""
        self.host = self.get_option("host") or self._play_context.remote_addr
        try:
            runtime.client().reset(self._link(self._ssh_vector()))
        except DaemonError:
            runtime.drop_client()
        except AnsibleError as error:
            # There can be no link; what stock has to say of that follows.
            display.debug(f"slipstream: nothing to reset: {error}", host=self.host)
        finally:
            self._close_sshpass_pipe()
        super().reset()  # type: ignore[misc]


@functools.lru_cache(256)
def _is_ssh(executable: str) -> bool:
    """Tell whether a name or path is that of a program called ``ssh``, and no script."""
    path = shutil.which(executable) or executable
    try:
        with open(path, "rb") as file:
            return os.path.basename(os.path.realpath(path)) == "ssh" and file.read(2) != b"#!"
    except OSError:
        return True


def _of_the_link(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name in LINK_VARIABLES or name.startswith(LINK_PREFIXES)
    }
