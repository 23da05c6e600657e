"""Connections that are not ours, in one play with one that is: they answer as under stock, and ours is ours.

Network devices are this machine's shell and web server. No Windows can be had here: WinRM meets a server that
knows nothing of it.
"""

from __future__ import annotations

import json
from pathlib import Path

from kit import web
from kit.compare import run_differences
from kit.runner import MODES, Controller
from kit.sshd import Sshd
from kit.versions import core

TASKS = """\
- hosts: plain
  gather_facts: false
  ignore_errors: true
  ignore_unreachable: true
  vars: {address: 127.0.0.1, port: "{{ url | urlsplit('port') }}"}
  tasks:
    - {name: ours, command: echo one}
    - name: network_cli
      ansible.netcommon.cli_command: {command: "echo on $SSH_TTY | cut -c -11"}
      # The shell of a Linux system reads what this system's plugin writes to it.
      vars:
        ansible_connection: ansible.netcommon.network_cli
        ansible_network_os: vyos.vyos.vyos
        ansible_network_cli_ssh_type: "{{ item }}"
      loop: [paramiko, libssh]
      register: shown
    - {name: shown, debug: {var: shown.results | map(attribute='stdout')}}
    - {name: ours between, copy: {content: "{{ shown.results[0].stdout }}", dest: "{{ work }}/shown"}}
    - name: httpapi
      ansible.netcommon.restconf_get: {path: "/{{ item }}"}
      vars: &http
        ansible_connection: ansible.netcommon.httpapi
        ansible_network_os: ansible.netcommon.restconf
        ansible_httpapi_restconf_root: /
        ansible_httpapi_port: "{{ port }}"
        ansible_host: "{{ address }}"
      loop: [numbers.json, no_such.json]
    - {name: nobody's port, ansible.netcommon.restconf_get: {path: /x}, vars: {<<: *http, ansible_httpapi_port: 1}}
    - name: winrm
      raw: whoami
      vars: &windows
        ansible_connection: winrm
        ansible_shell_type: powershell
        ansible_winrm_scheme: http
        ansible_port: "{{ port }}"
        ansible_host: "{{ address }}"
        ansible_password: wrong
    - {name: winrm's module, ansible.windows.win_ping: {}, vars: {<<: *windows}}
    - {name: psrp, raw: whoami, vars: {<<: *windows, ansible_connection: psrp, ansible_psrp_protocol: http}}
    - {name: ours again, command: echo three}
"""
# Part of ansible-core up to 2.20.
PARAMIKO = """\
    - {name: paramiko, command: echo four, vars: &paramiko {ansible_connection: paramiko_ssh}}
    - {name: its files, copy: {content: x, dest: "{{ work }}/by_paramiko"}, vars: {<<: *paramiko}}
    - {name: what it fetches, fetch: {src: "{{ work }}/by_paramiko", dest: "{{ work }}/to/"}, vars: {<<: *paramiko}}
    - {name: its gathering, setup: {gather_subset: [min]}, vars: {<<: *paramiko}}
    - {name: ours at last, command: cat by_paramiko, args: {chdir: "{{ work }}"}}
"""


def test_they_run_as_under_stock(venv: Path, sshd: Sshd, open_folder: Path, tmp_path: Path, collections: str) -> None:
    has_paramiko = core(venv) < (2, 21)
    playbook = open_folder / "play.yml"
    playbook.write_text(TASKS + PARAMIKO * has_paramiko)
    environment = {"ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_HOST_KEY_CHECKING": "false"}
    runs = []
    with web.serving(tmp_path) as url:
        for mode in MODES:
            with Controller(venv, mode, sshd, open_folder / "run", environment=environment) as controller:
                runs.append(controller.run(playbook, "-e", json.dumps({"url": url}), deadline_seconds=120))
                report = controller.status() if mode == "slipstream" else {}
    assert list(map(str, run_differences(*runs))) == []
    # A copy looks first.
    assert report["tickets"] == 4 + has_paramiko, report
    ends = {event.task: (event.kind, event.result) for event in runs[0].events}
    cli, http = ends["network_cli"][1]["results"], ends["httpapi"][1]["results"]
    assert all("on /dev/pts" in answer["stdout"] for answer in cli), cli
    assert http[0]["response"] == {"numbers": [1, 2, 3]}, http
    for windows in ("winrm", "winrm's module", "psrp"):
        kind, result = ends[windows]
        assert kind == "unreachable" and "501" in result["msg"], result
