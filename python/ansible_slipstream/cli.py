"""The ``slipstream`` command: what is up, and is everything in order."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

from . import __version__, daemon
from .client import Client, Json
from .errors import DaemonError, DaemonNotRunning
from .settings import LOG_LEVELS, BadSetting, Settings, read

Report = tuple[Json, int]


def main(arguments: list[str] | None = None) -> None:
    """Run one subcommand and end with its exit code: 0 well, 1 not well, 2 a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        report, code = options.run(read(_config_file()), options)
    except (DaemonError, BadSetting) as error:
        report, code = {"error": str(error)}, 1
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print(options.show(report) if "error" not in report else f"slipstream: {report['error']}")
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slipstream", description="Looks after Slipstream's daemon.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[..., Report], show: Callable[[Json], str], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run, show=show)
        return command

    add("status", _status, _show_status, "Shows links, agents and counters of the running daemon.")
    add("stop", _stop, _show_stop, "Ends the running daemon with its links and agents.")
    add("doctor", _doctor, _show_doctor, "Checks everything that Slipstream needs on this machine.")
    add("version", _version, _show_version, "Shows the versions of this installation and of the daemon.")
    level = add("log", _log, _show_log, "Changes the running daemon's log level.")
    level.add_argument("level", choices=LOG_LEVELS)
    return parser


def _config_file() -> str | None:
    """Return the ansible.cfg that Ansible would read, in its order."""
    named = os.environ.get("ANSIBLE_CONFIG")
    if named:
        return os.path.join(named, "ansible.cfg") if os.path.isdir(named) else named
    for path in ("ansible.cfg", os.path.expanduser("~/.ansible.cfg"), "/etc/ansible/ansible.cfg"):
        if os.path.exists(path):
            return path
    return None


def _status(settings: Settings, _options: Any) -> Report:
    try:
        reply, _ = Client(settings, start=False).ask("status")
    except DaemonNotRunning:
        return {"running": False, "state_dir": settings.state_dir}, 0
    return {"running": True, "state_dir": settings.state_dir, **reply["report"]}, 0


def _show_status(report: Json) -> str:
    if not report["running"]:
        return f"no daemon runs in {report['state_dir']}"
    lines = [
        f"slipstreamd {report['version']}, pid {report['pid']}, up {report['uptime_s']:.0f} s",
        f"  playbooks under way: {report['runs']}",
        f"  modules by ticket: {report['tickets']}",
        f"  closures: {report['closures']['known']} known, {report['closures']['hits']} hits, "
        f"{report['closures']['misses']} misses",
    ]
    lines += [f"  modules by stock Ansible: {count} ({reason})" for reason, count in report["stock"].items()]
    for link in report["links"]:
        lines.append(
            f"  link {link['host']} ({link['transport']}, pid {link['pid']}): {link['tickets']} modules, "
            f"{link['bytes_up']} bytes up, {link['bytes_down']} down, idle {link['idle_s']:.0f} of "
            f"{link['linger_s']:.0f} s"
        )
        lines += [
            f"    agent {agent['pid']}: {agent['interpreter']} {agent['python']}, uid {agent['uid']}"
            + "".join(f", {word}" for word in ("become", "busy", "resting") if agent[word])
            for agent in link["agents"]
        ]
    return "\n".join(lines)


def _stop(settings: Settings, _options: Any) -> Report:
    try:
        client = Client(settings, start=False)
    except DaemonNotRunning:
        return {"stopped": False}, 0
    client.ask("stop")
    return {"stopped": True, "pid": client.daemon_pid}, 0


def _show_stop(report: Json) -> str:
    return f"daemon {report['pid']} is ending" if report["stopped"] else "no daemon was running"


def _log(settings: Settings, options: Any) -> Report:
    Client(settings, start=False).ask("log", level=options.level)
    return {"level": options.level}, 0


def _show_log(report: Json) -> str:
    return f"log level is {report['level']}"


def _version(settings: Settings, _options: Any) -> Report:
    status, _ = _status(settings, None)
    return {"slipstream": __version__, "daemon": status.get("version"), "ansible_core": _ansible_version()}, 0


def _show_version(report: Json) -> str:
    running = report["daemon"] or "not running"
    return f"slipstream {report['slipstream']}, daemon {running}, ansible-core {report['ansible_core'] or 'not found'}"


def _ansible_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ansible-core")
    except PackageNotFoundError:
        return None


def _doctor(settings: Settings, _options: Any) -> Report:
    checks = [_check_ssh(), _check_core(), _check_daemon(settings), _check_collection()]
    well = all(check["ok"] for check in checks)
    return {"ok": well, "checks": checks}, 0 if well else 1


def _show_doctor(report: Json) -> str:
    return "\n".join(
        f"{'ok  ' if check['ok'] else 'FAIL'} {check['name']}: {check['text']}" for check in report["checks"]
    )


def _check_ssh() -> Json:
    path = shutil.which("ssh")
    return {"name": "ssh", "ok": path is not None, "text": path or "not found: install the OpenSSH client"}


def _check_core() -> Json:
    version = _ansible_version()
    text = f"{version}" if version else "not found in this environment: install ansible-core beside Slipstream"
    return {"name": "ansible-core", "ok": version is not None, "text": text}


def _check_daemon(settings: Settings) -> Json:
    command = " ".join(daemon.start_command())
    try:
        client = Client(settings)
    except DaemonError as error:
        return {"name": "daemon", "ok": False, "text": f"{error} ({command})"}
    return {"name": "daemon", "ok": True, "text": f"pid {client.daemon_pid} in {settings.state_dir} ({command})"}


def _check_collection() -> Json:
    import sysconfig

    folder = os.path.join(sysconfig.get_path("purelib"), "ansible_collections", "slipstream", "core")
    found = os.path.isdir(folder)
    text = folder if found else f"not in {folder}: install the wheel again"
    return {"name": "collection slipstream.core", "ok": found, "text": text}
