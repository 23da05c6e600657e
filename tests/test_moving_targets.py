"""Targets and settings that change under a running play: stock starts anew with each task, Slipstream must not lag.

For a copy of the machine (`targets/alone.py`): accounts use the Pythons below root's home.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.compare import run_differences
from kit.interpreters import interpreters
from kit.plays import Play
from kit.runner import MODES, Run
from kit.sshd import Sshd
from kit.versions import core

OLD, NEW = "3.10", "3.12"
VERSION = "setup: {gather_subset: ['!all', '!min', platform]}"

# Takes another Python that has what it wants, as ansible-core's own apt does.
WANTS = """\
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module

module = AnsibleModule({'wants': {}})
try:
    __import__(module.params['wants'])
except ImportError:
    found = None if has_respawned() else probe_interpreters_for_module(['/nowhere', '/usr/bin/python3'], 'apt_pkg')
    if found:
        respawn_module(found)
    module.fail_json(msg='none has it', respawned=has_respawned())
module.exit_json(respawned=has_respawned())
"""
# Its child keeps what it has inherited open until somebody writes to the pipe.
LEAVES = """\
import os
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({'pipe': {}, 'leaves': {'type': 'bool'}, 'own_session': {'type': 'bool'}})
if not module.params['leaves']:
    open(module.params['pipe'], 'w').close()
elif os.fork() == 0:
    if module.params['own_session']:
        os.setsid()
    with open(module.params['pipe']) as pipe:
        pipe.read()
    os._exit(0)
module.exit_json(leaves=module.params['leaves'])
"""
# The first waits until all have come, then lets them go.
MEET = """\
#!/bin/sh
me=$1; shift
if [ $me = $1 ]; then
  shift
  for other; do cat in-$other; done
  for other; do echo go > out-$other; done
else
  echo > in-$me; cat out-$me
fi
echo met
"""
LOCKED = 'ansible_private_key: "{{ keys.locked }}", ansible_private_key_passphrase'
# Names of tasks say what to change before them: "env NAME=VALUE" in the process, "var NAME=VALUE" of the host.
CHANGES = """\
DOCUMENTATION = "name: changes\\ntype: aggregate\\nshort_description: changes\\ndescription: d"
import os
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_NAME = 'changes'

    def v2_playbook_on_play_start(self, play):
        self.manager = play.get_variable_manager()

    def v2_playbook_on_task_start(self, task, is_conditional):
        what, _, assignment = task.get_name().partition(' ')
        name, equals, value = assignment.partition('=')
        if what == 'env' and value:
            os.environ[name] = value
        elif what == 'env':
            del os.environ[name]
        elif what == 'var' and equals:
            self.manager._inventory.get_host('plain').set_variable(name, value)
"""


def said(run: Run, key: str = "stdout") -> dict[str, object]:
    """Return what each named task has said."""
    return {event.task: event.result.get(key) for event in run.events if event.host and event.task}


def roots() -> tuple[Path, Path]:
    """Return the folders of two of the machine's Pythons."""
    found = interpreters()
    if OLD not in found or NEW not in found:
        pytest.skip(f"this machine has no Python {OLD} and {NEW}")
    old, new = (Path(found[version]).resolve().parents[1] for version in (OLD, NEW))
    return old, new


def versions(run: Run) -> list[str]:
    """Return the versions of Python that `setup` has found, one after the other."""
    facts = [event.result.get("ansible_facts", {}) for event in run.events]
    found = [fact["ansible_python_version"] for fact in facts if "ansible_python_version" in fact]
    return [version.rpartition(".")[0] for version in found]


def test_python_is_upgraded(play: Play) -> None:
    """In mid-play, with agents there already: a link on the way to the interpreter points to another Python, or binary
    and library of another come to its place by rename."""
    old, new = roots()
    tasks = f"""\
- raw: |
    cd {{{{ work }}}}
    ln -s {old} now
    for python in {old} {new}; do
      copy=$(basename $python); mkdir -p $copy/bin; ln -s $python/lib $copy/lib
      cp $(readlink -f $python/bin/python3) $copy/bin/python3
    done
    mv {old.name} copy
- vars: {{ansible_python_interpreter: "{{{{ work }}}}/now/bin/python3"}}
  block:
    - {{command: echo old, become: true, become_user: slip-carol}}
    - {{command: "ln -sfn {new} {{{{ work }}}}/now"}}
    - {{{VERSION}}}
    - {{raw: "ln -sfn {old} {{{{ work }}}}/now"}}
    - {{{VERSION}, become: true, become_user: slip-carol}}
- vars: {{ansible_python_interpreter: "{{{{ work }}}}/copy/bin/python3"}}
  block:
    - {{shell: "cd {{{{ work }}}}; mv copy {old.name}; mv {new.name} copy"}}
    - {{copy: {{content: x, dest: "{{{{ work }}}}/x"}}}}
    - {{{VERSION}, become: true, become_user: slip-carol}}
"""
    assert versions(play.compare("plain", tasks)) == [NEW, OLD, NEW]


def test_modules_that_take_another_python(play: Play) -> None:
    """The interpreter has no binding to apt: modules go on in the system's Python, or say what it lacks too."""
    play.file("library/wants.py", WANTS)
    tasks = f"""\
- ignore_errors: true
  vars: {{ansible_python_interpreter: {interpreters()[NEW]}}}
  block:
    - {{name: found, wants: {{wants: apt_pkg}}, environment: {{WORD: x}}}}
    - {{name: not found, wants: {{wants: no_such_module}}}}
"""
    respawned = said(play.compare("plain", tasks), "respawned")
    assert respawned["found"] is True and respawned["not found"] is True


def test_file_system_in_use_can_be_unmounted(play: Play) -> None:
    """Agents that the tasks right before have made stand in the way: a user has logged in to a home there, and the
    Python of the login account is there."""
    play.file("unmount.sh", "#!/bin/sh\numount $1\n")
    there = "{{ work }}/there"
    # A plain `command` is in playbooks/machine.yml.
    ways = {
        "raw": f'"umount {there}"',
        "script": f'"unmount.sh {there}"',
        "shell": f'{{cmd: sh, stdin: "umount {there}"}}',
        "command": f"\"sh -c '$PROGRAM {there}'\", environment: {{PROGRAM: umount}}",
    }
    tasks = f"- {{raw: 'mkdir {there}; useradd -d {there} slip-mover', become: true}}\n"
    for way, program in ways.items():
        tasks += f"""\
- raw: >-
    mount -t tmpfs none {there}; chown slip-mover {there};
    /usr/bin/python3 -m venv --without-pip --copies {there}/v
  become: true
- {{command: pwd, vars: {{ansible_python_interpreter: "{there}/v/bin/python3"}}}}
- {{command: pwd, become: true, become_user: slip-mover, vars: {{ansible_become_flags: -i}}}}
- {{name: by {way}, {way}: {program}, become: true}}
"""
    tasks += "- {raw: userdel slip-mover, become: true}\n"
    codes = said(play.compare("plain", tasks), "rc")
    assert [codes[f"by {way}"] for way in ways] == [0] * len(ways)


# What changes under a play, as root does it, and back.
MOVES = {
    "home": ("mkdir {there}; chown slip-alice {there}; {set_home} {there}", "{set_home} /home/slip-alice"),
    "no folder": (
        "rm -rf {there}; mv /home/slip-alice/.ansible {there}; touch /home/slip-alice/.ansible",
        "rm /home/slip-alice/.ansible; mv {there} /home/slip-alice/.ansible",
    ),
}
# usermod refuses while processes of the account live.
SET_HOME = 'f() { sed -i "s#^\\(slip-alice:.*\\):/[^:]*:#\\1:$1:#" /etc/passwd; }; f'
LEFT = "find /home/slip-alice {{ work }} -name 'ansible-tmp-*'"


@pytest.mark.parametrize("what", MOVES)
@pytest.mark.parametrize("action", ["copy", "template", "copy as root", "copy of a tree"])
def test_home_moves_between_files(play: Play, what: str, action: str) -> None:
    """Slipstream knows where the home is by then, and does not ask again."""
    for name in ("tree/one", "tree/inner/two"):
        play.file(name, f"{name}\n")
    play.file("file.j2", "{{ inventory_hostname }} {{ number }}\n")
    there = "{{ work }}/there"
    change, back = (words.format(there=there, set_home=SET_HOME) for words in MOVES[what])
    module, source = {
        "template": ("template", "src: '{{ playbook_dir }}/file.j2'"),
        "copy of a tree": ("copy", "src: '{{ playbook_dir }}/tree'"),
    }.get(action, ("copy", "content: '{{ number }}'"))
    become = "become: true" if action == "copy as root" else "become: false"
    files = ""
    for number in (1, 2):
        files += f"- name: write {number}\n"
        files += f"  {module}: {{{source}, dest: '{{{{ work }}}}/file {number}'}}\n"
        files += f"  {become}\n  vars: {{number: {number}}}\n  ignore_errors: true\n  ignore_unreachable: true\n"
        if number == 1:
            files += f"- {{name: change, raw: {json.dumps(change)}, become: true}}\n"
    files += f"- {{name: back, raw: {json.dumps(back)}, become: true}}\n"
    files += f"- {{name: left, raw: {json.dumps(LEFT)}, become: true}}\n"
    run = play.compare("plain", files, *(["-e", "ansible_ssh_retries=1"] if action == "copy" else []))
    assert said(run, "stdout")["left"] == "", run.stdout
    kinds = {event.task: event.kind for event in run.events if event.task.startswith("write")}
    assert kinds["write 1"] == "ok" and (kinds["write 2"] == "ok") is (what == "home"), kinds


def test_settings_of_ssh_by_task(play: Play) -> None:
    """Whether there is a terminal, and how a password is given, is each task's own choice."""
    password = (
        "ansible_user: slip-carol, ansible_password: '{{ carol_password }}', ansible_ssh_private_key_file: null, "
        "ansible_ssh_extra_args: -o PubkeyAuthentication=no"
    )
    tasks = f"""\
- {{raw: test -t 0, vars: {{ansible_ssh_use_tty: false}}, ignore_errors: true}}
- {{command: id -un, vars: {{{password}, ansible_host: 127.0.0.130, ansible_ssh_password_mechanism: sshpass}}}}
"""
    play.compare("plain", tasks)


def test_private_key_as_content(play: Play, sshd: Sshd, venv: Path) -> None:
    """Keys that are variables, locked or not, with passphrases that are right, wrong and missing, two for the same
    host, and after the connection was reset."""
    if core(venv) < (2, 19):
        pytest.skip("private_key came with ansible-core 2.19")
    keys = {}
    for name, passphrase in (("open", ""), ("locked", "the right one")):
        path = play.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
        keys[name] = path.read_text()
    play.file("keys.json", json.dumps({"keys": keys}))
    play.variables["ANSIBLE_SSH_AGENT"] = "auto"
    tasks = f"""\
- {{include_vars: keys.json}}
- vars: {{ansible_user: slip-carol, ansible_ssh_private_key_file: null}}
  ignore_errors: true
  ignore_unreachable: true
  block:
    - {{command: id -un, vars: {{ansible_host: 127.0.0.141, ansible_private_key: "{{{{ keys.open }}}}"}}}}
    - {{command: id -un, vars: {{ansible_host: 127.0.0.141, {LOCKED}: the right one}}}}
    - {{command: id -un, vars: {{ansible_host: 127.0.0.143, {LOCKED}: a wrong one}}}}
    - {{raw: id -un, vars: {{ansible_host: 127.0.0.144, {LOCKED}: null}}}}
- {{set_fact: {{ansible_host: 127.0.0.147, ansible_user: slip-carol, ansible_ssh_private_key_file: null}}}}
- {{set_fact: {{{LOCKED}: the right one}}}}
- {{command: id -un}}
- {{meta: reset_connection}}
- {{command: id -un}}
"""
    authorized = sshd.folder / "authorized" / "slip-carol"
    before = authorized.read_text()
    authorized.write_text("".join((play.folder / f"{name}.pub").read_text() for name in ("open", "locked")))
    try:
        play.compare("plain", tasks)
    finally:
        authorized.write_text(before)


def test_child_that_keeps_a_modules_output_open(play: Play) -> None:
    """It ends when another host's module of the same task writes to it; its silence is no part of a result."""
    play.file("library/leaves.py", LEAVES)
    tasks = "- {raw: 'mkfifo -m 666 {{ work }}/pipe', delegate_to: lane1, run_once: true}\n"
    for own_session, more in (("false", ""), ("true", ", become: true")):
        arguments = "pipe: '{{ work }}/pipe', leaves: \"{{ inventory_hostname == 'lane1' }}\""
        tasks += f"- {{leaves: {{{arguments}, own_session: {own_session}}}{more}}}\n"
    run = play.compare("lane1,lane2", tasks)
    assert [event.result["leaves"] for event in run.events if event.task == "leaves"].count(True) == 2


def test_delegated_tasks_run_side_by_side(play: Play) -> None:
    """Each of four hosts waits for all others in the middle of its task: on the controller and on another host, with
    and without become."""
    hosts = ["lane1", "lane2", "lane3", "plain2"]
    script = play.file("meet.sh", MEET)
    call = f"timeout 20 sh {script} {{{{ inventory_hostname }}}} {' '.join(hosts)}"
    pipes = " ".join(f"in-{host} out-{host}" for host in hosts)
    tasks = f"- {{raw: 'cd {{{{ work }}}} && mkfifo -m 666 {pipes}', run_once: true, delegate_to: plain}}\n"
    for where, become in (("localhost", "false"), ("plain", "true")):
        tasks += f"""\
- {{command: "{call}", args: {{chdir: "{{{{ work }}}}"}}, delegate_to: {where}, become: {become}}}
"""
    tasks += f"""\
- {{local_action: {{module: command, chdir: "{{{{ work }}}}", cmd: "{call}"}}, become: true}}
"""
    run = play.compare(",".join(hosts), tasks, "--forks", "4")
    assert sum("met" in event.result.get("stdout", "") for event in run.events) == 3 * len(hosts)


@contextmanager
def listener(answers: bool) -> Iterator[tuple[int, list[socket.socket]]]:
    """Give a port and the connections so far: closed after the client's first words, or never answered."""
    held: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                taken, _ = server.accept()
            except OSError:
                return
            held.append(taken)
            if answers:
                taken.recv(1000)
                taken.close()

    with socket.create_server(("0.0.0.0", 0)) as server:
        thread = threading.Thread(target=accept, name="listener", daemon=True)
        thread.start()
        yield server.getsockname()[1], held
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for one in held:
        one.close()


@pytest.mark.parametrize("answers", [True, False], ids=["closes", "never answers"])
def test_discovery_where_nobody_lets_us_in(play: Play, answers: bool) -> None:
    """Stock's words, and as many attempts as stock's."""
    settings = "ansible_ssh_timeout: 1, ansible_ssh_extra_args: -o ConnectTimeout=1"
    with listener(answers) as (port, held):
        tasks = f"- {{command: id, vars: {{ansible_port: {port}, {settings}}}, ignore_unreachable: true}}\n"
        if answers:
            tasks += tasks.replace("command: id", "setup: {}") + tasks.replace("command", "raw")
        runs, attempts = [], []
        for mode in MODES:
            runs.append(play.run(mode, "discovery", tasks))
            attempts.append(len(held))
    assert not list(map(str, run_differences(*runs)))
    assert attempts[0] and attempts[1] == 2 * attempts[0]


def test_callback_that_changes_process_and_variables(play: Play, sshd: Sshd) -> None:
    """What a callback plugin changes before a task counts for that task where it is the process, and from the next on
    where it is a variable of the host: programs, ssh-agent, words that ssh sends, Ansible's own variables."""
    play.file("callback_plugins/changes.py", CHANGES)
    folder = play.folder
    (folder / "bin").mkdir()
    ssh = folder / "bin" / "ssh"
    ssh.write_text('#!/bin/sh\nLC_WORD=wrapped exec /usr/bin/ssh "$@"\n')
    ssh.chmod(0o755)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", folder / "agent"], stdout=subprocess.PIPE)
    assert agent.stdout
    agent.stdout.readline()  # it listens
    environment = {**os.environ, "SSH_AUTH_SOCK": str(folder / "agent")}
    tasks = f"""\
- vars: {{ansible_ssh_private_key_file: null}}
  ignore_unreachable: true
  block:
    - {{name: env SSH_AUTH_SOCK={folder}/agent, command: id -un, vars: {{ansible_host: 127.0.0.150}}}}
- {{name: env LC_WORD=two, shell: echo $LC_WORD}}
- {{name: env PATH={folder}/bin:/usr/sbin:/usr/bin:/bin, shell: echo $LC_WORD}}
- {{name: raw, raw: echo $LC_WORD}}
- {{name: var ansible_user=slip-carol, command: id -un}}
- {{name: whose, command: id -un}}
"""
    try:
        subprocess.run(["ssh-add", "-q", str(sshd.user_key)], env=environment, check=True)
        heard = said(play.compare("plain", tasks))
    finally:
        agent.terminate()
        agent.wait()
    assert heard["env LC_WORD=two"] == "two" and heard["raw"] == "wrapped\r\n" and heard["whose"] == "slip-carol"
