"""Popular collections: what their modules and actions answer is what they answer under stock.

Most want a service that is not here, so they are called with what they refuse: they are found, sent, imported and
checked all the same. Some have work to do on any machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.compare import run_differences
from kit.runner import MODES, Controller
from kit.sshd import Sshd

CALLED_WITH_NOTHING = (
    "amazon.aws.ec2_key",
    "amazon.aws.s3_object",
    "ansible.netcommon.cli_command",
    "ansible.netcommon.net_ping",
    "ansible.posix.firewalld",
    "ansible.posix.mount",
    "ansible.utils.cli_parse",
    "ansible.utils.fact_diff",
    "arista.eos.eos_acls",
    "azure.azcollection.azure_rm_resourcegroup_info",
    "cisco.ios.ios_command",
    "community.crypto.acme_account_info",
    "community.dns.hosttech_dns_record_info",
    "community.docker.docker_compose_v2",
    "community.docker.docker_container_info",
    "community.docker.docker_network",
    "community.general.gitlab_label",
    "community.general.nmcli",
    "community.general.redis_info",
    "community.general.zypper",
    "community.grafana.grafana_team",
    "community.hashi_vault.vault_kv1_get",
    "community.libvirt.virt",
    "community.postgresql.postgresql_ping",
    "community.proxysql.proxysql_galera_hostgroups",
    "community.rabbitmq.rabbitmq_exchange",
    "community.sops.load_vars",
    "community.windows.win_lineinfile",
    "community.zabbix.zabbix_user",
    "containers.podman.podman_tag",
    "fortinet.fortios.fortios_dlp_sensitivity",
    "google.cloud.gcp_compute_address_info",
    "hetzner.hcloud.iso_info",
    "infoblox.nios_modules.nios_srv_record",
    "kubernetes.core.helm_info",
    "kubernetes.core.k8s_info",
    "microsoft.ad.object",
    "netapp.ontap.na_ontap_s3_services",
    "netbox.netbox.netbox_site_group",
    "openstack.cloud.image",
    "purestorage.flasharray.purefa_pod",
    "splunk.es.splunk_correlation_search_info",
    "theforeman.foreman.hostgroup",
    "vmware.vmware.vm",
)
AT_WORK = """
    - {name: ini_file, community.general.ini_file: {path: "{{ work }}/x.ini", section: a, option: b, value: c}}
    - {name: ini_file again, community.general.ini_file: {path: "{{ work }}/x.ini", section: a, option: b, value: d}, diff: true}
    - {name: archive, community.general.archive: {path: "{{ work }}/x.ini", dest: "{{ work }}/x.zip", format: zip}}
    - {name: deploy_helper, community.general.deploy_helper: {path: "{{ work }}/site", release: one}}
    - {name: git_config, community.general.git_config: {name: user.name, value: x, scope: file, file: "{{ work }}/git"}}
    - {name: sysctl, ansible.posix.sysctl: {name: vm.swappiness, value: "60", sysctl_file: "{{ work }}/sysctl", reload: false}}
    - {name: authorized_key, ansible.posix.authorized_key: {user: root, key: "ssh-ed25519 x y", path: "{{ work }}/keys", manage_dir: false}}
    - {name: acl, ansible.posix.acl: {path: "{{ work }}/x.ini", entity: daemon, etype: user, permissions: r, state: present}}
    - {name: synchronize, ansible.posix.synchronize: {src: "{{ playbook_dir }}/source/", dest: "{{ work }}/synchronized"}}
    - {name: privatekey, community.crypto.openssl_privatekey_info: {path: "{{ work }}/x.ini"}}
    - {name: crypto_info, community.crypto.crypto_info: {}}
    - {name: update_fact, ansible.utils.update_fact: {updates: [{path: work, value: elsewhere}]}}
    - {name: k8s without a cluster, kubernetes.core.k8s_info: {kind: Pod, host: "https://127.0.0.1:1", api_key: x}}
    - {name: docker without a daemon, community.docker.docker_host_info: {docker_host: "tcp://127.0.0.1:1"}}
    - {name: filters and lookups, debug: {msg: "{{ [1, 2] | community.general.counter }} {{ lookup('community.general.random_string', length=0) }}"}}
"""


def test_answers_are_those_of_stock(venv: Path, sshd: Sshd, open_folder: Path, collections: str) -> None:
    (open_folder / "source").mkdir()
    (open_folder / "source" / "file").write_text("x")
    play = open_folder / "play.yml"
    called = "".join(f"    - {{name: {name}, {name}: {{}}}}\n" for name in CALLED_WITH_NOTHING)
    header = "- hosts: sudo\n  gather_facts: false\n  ignore_errors: true\n  tasks:\n"
    play.write_text(header + called + AT_WORK)
    runs = []
    for mode in MODES:
        environment = {"ANSIBLE_COLLECTIONS_PATH": collections}
        with Controller(venv, mode, sshd, open_folder / "run", environment=environment) as controller:
            runs.append(controller.run(play, deadline_seconds=300))
            report = controller.status() if mode == "slipstream" else {}
    found = list(run_differences(*runs))
    if found:
        pytest.fail("\n".join(map(str, found)), pytrace=False)
    unknown = [event.task for event in runs[1].events if "couldn't resolve" in str(event.result)]
    assert unknown == []
    assert report["tickets"] >= len(CALLED_WITH_NOTHING) // 2, report
