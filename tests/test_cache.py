"""The daemon's cache of closures: never older than the files, never another environment's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_slipstream.ansible.escalation import Escalation
from ansible_slipstream.client import AgentStart, Client, Closure, Link, ModuleRequest
from ansible_slipstream.errors import RequestFailed
from ansible_slipstream.settings import Settings
from kit import processes
from kit.accounts import ALICE
from kit.runner import MODES, Controller
from kit.sshd import Sshd

MODULE = """\
from ansible.module_utils.basic import AnsibleModule
from {util} import WORD
def main():
    module = AnsibleModule(argument_spec={{}})
    module.exit_json(word=WORD)
if __name__ == "__main__":
    main()
"""
PLAY = "[{hosts: plain, gather_facts: false, tasks: [{name: say, say: }]}]"
RUNTIME = """\
plugin_routing:
  module_utils:
    old:
      redirect: acme.tools.fresh
      deprecation: {removal_version: 99.0.0, warning_text: use the fresh one}
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def word(controller: Controller, playbook: Path) -> str:
    run = controller.run(playbook, deadline_seconds=90)
    assert run.rc == 0, run.stdout + run.stderr
    return str(next(event for event in run.events if event.task == "say").result["word"])


def test_changed_utility_is_what_the_next_playbook_runs(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """Though its size and its time of modification are the same."""
    write(open_folder / "library/say.py", MODULE.format(util="ansible.module_utils.words"))
    utility = write(open_folder / "module_utils/words.py", "WORD = 'one'\n")
    playbook = write(open_folder / "play.yml", PLAY)
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        assert word(controller, playbook) == "one"
        before = utility.stat()
        utility.write_text("WORD = 'two'\n")
        os.utime(utility, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert word(controller, playbook) == "two"
        # A folder that is searched before may come to have one.
        write(open_folder / "module_utils/words/__init__.py", "WORD = 'three'\n")
        assert word(controller, playbook) == "three"
        assert controller.status()["tickets"] == 3


def test_deprecation_is_said_in_every_run(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    tools = open_folder / "collections/ansible_collections/acme/tools"
    write(tools / "meta/runtime.yml", RUNTIME)
    write(tools / "plugins/module_utils/fresh.py", "WORD = 'fresh'\n")
    write(open_folder / "library/say.py", MODULE.format(util="ansible_collections.acme.tools.plugins.module_utils.old"))
    playbook = write(open_folder / "play.yml", PLAY)
    said = []
    for mode, runs in zip(MODES, (1, 2), strict=True):
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            for _ in range(runs):
                run = controller.run(playbook, deadline_seconds=90)
                assert run.rc == 0, run.stdout + run.stderr
                said.append(run.stderr)
            assert mode == "stock" or controller.status()["tickets"] == 2
    assert "use the fresh one" in " ".join(said[0].split())
    assert said[0] == said[1] == said[2]


def test_environments_of_two_versions_share_a_daemon(venv: Path, sshd: Sshd, open_folder: Path) -> None:
    """At once, with the same modules: each gets those of its own ansible-core."""
    other = Path(os.environ.get("SLIPSTREAM_TEST_OTHER_VENV", ""))
    if not other.name or other == venv:
        pytest.skip("there is no other environment")
    tasks = "[{setup: {gather_subset: min}}, {stat: {path: /}}, {command: id}]"
    playbook = write(open_folder / "play.yml", f"[{{hosts: plain, gather_facts: false, tasks: {tasks}}}]")
    with (
        Controller(venv, "slipstream", sshd, open_folder / "one") as one,
        Controller(other, "slipstream", sshd, open_folder / "other") as two,
    ):
        two.variables["SLIPSTREAM_DIR"] = str(one.slipstream_folder)
        for _ in range(2):
            started = [controller.start(playbook) for controller in (one, two)]
            for process in started:
                stdout, stderr = process.communicate(timeout=90)
                assert process.returncode == 0, stdout + stderr
        status = one.status()
    assert status["tickets"] == 12 and status["stock"] == {}
    # Three modules of either version; a directory that both leave empty is no module.
    assert status["closures"]["known"] == 6


@pytest.mark.parametrize("changed", ["module_utils/words.py", "library/say.py"])
def test_what_changes_meanwhile_is_the_next_playbooks(venv: Path, sshd: Sshd, open_folder: Path, changed: str) -> None:
    """As stock packs a module once for a playbook."""
    files = {
        "library/say.py": MODULE.format(util="ansible.module_utils.words"),
        "module_utils/words.py": "WORD = 'one'\n",
        "module_utils/other.py": "WORD = 'two'\n",
    }
    others = {"module_utils/words.py": files["module_utils/other.py"]}
    write(open_folder / "new", others.get(changed, files[changed].replace("words", "other")))
    change = (
        f"{{name: change, copy: {{src: {open_folder}/new, dest: {open_folder / changed}}}, delegate_to: localhost}}"
    )
    say = "{name: say, say: }"
    playbook = write(
        open_folder / "play.yml", f"[{{hosts: plain, gather_facts: false, tasks: [{say}, {change}, {say}]}}]"
    )
    for mode in MODES:
        for name, text in files.items():
            write(open_folder / name, text)
        with Controller(venv, mode, sshd, open_folder / "run") as controller:
            run = controller.run(playbook, deadline_seconds=90)
            assert run.rc == 0, run.stdout + run.stderr
            assert [event.result["word"] for event in run.events if event.task == "say"] == ["one", "one"], mode
            assert word(controller, playbook) == "two"


def test_closure_that_is_lost_and_has_changed_is_not_asked_for_for_ever(
    sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_hosts = write(open_folder / "known_hosts", sshd.known_hosts())
    arguments = f"ssh -p {sshd.port} -i {sshd.user_key} -l {ALICE.name} -o UserKnownHostsFile={known_hosts}".split()
    monkeypatch.setenv("HOME", str(open_folder))
    link = Link(
        transport="ssh",
        host="127.0.0.1",
        argv=arguments,
        env=dict(os.environ),
        cwd="/",
        umask=0o077,
        linger=5.0,
        compression="off",
        target_cache="",
    )
    asked_for, changed = (Closure(digit * 64, {}) for digit in "ab")
    request = ModuleRequest(link, AgentStart("agent", "exit 1", False), asked_for.digest, {}, b"{}", "run")
    client = Client(Settings(state_dir=str(open_folder / "state")))
    try:
        client.open_link(link)
        with pytest.raises(RequestFailed, match="changed since the run began"):
            client.run_module(request, Escalation(None, b"", 20, print), lambda: changed)
    finally:
        processes.end_listeners(open_folder)


def test_minifying_can_be_switched_off(
    venv: Path, sshd: Sshd, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    playbook = write(open_folder / "play.yml", "[{hosts: plain, gather_facts: false, tasks: [{command: id}]}]")
    sent = []
    for minify in ("true", "false"):
        monkeypatch.setenv("SLIPSTREAM_MINIFY", minify)
        with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
            assert controller.run(playbook, deadline_seconds=90).rc == 0
            sent.append(controller.status()["links"][0]["bytes_up"])
    # The agent, about 40 KB, goes in both.
    assert sent[1] - sent[0] > 30_000
