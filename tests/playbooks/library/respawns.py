#!/usr/bin/python
"""Starts itself again under another interpreter, as package modules do."""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module


def main():
    module = AnsibleModule(argument_spec={"x": {}})
    if not has_respawned():
        respawn_module(probe_interpreters_for_module(["/no/such/python", "/usr/bin/python3"], "json"))
    module.exit_json(respawned=True, x=module.params["x"])


if __name__ == "__main__":
    main()
