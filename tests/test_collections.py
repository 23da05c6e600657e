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
AT_WORK = Path(__file__).parent / "playbooks" / "tasks" / "collections.yml"


def test_answers_are_those_of_stock(venv: Path, sshd: Sshd, open_folder: Path, collections: str) -> None:
    (open_folder / "source").mkdir()
    (open_folder / "source" / "file").write_text("x")
    play = open_folder / "play.yml"
    called = "".join(f"    - {{name: {name}, {name}: {{}}}}\n" for name in CALLED_WITH_NOTHING)
    header = "- hosts: sudo\n  gather_facts: false\n  ignore_errors: true\n  tasks:\n"
    play.write_text(f"{header}{called}    - import_tasks: {AT_WORK}\n")
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
    kinds = {event.task: event.kind for event in runs[0].events if event.task.startswith("synchronize")}
    assert set(kinds.values()) == {"ok"} and len(kinds) == 4, kinds
    assert report["tickets"] >= len(CALLED_WITH_NOTHING) // 2, report
