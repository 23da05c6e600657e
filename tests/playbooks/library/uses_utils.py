#!/usr/bin/python
"""Uses a module_util that lies beside the playbook."""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slip_words import shout


def main():
    module = AnsibleModule(argument_spec={"word": {"required": True}}, supports_check_mode=True)
    module.exit_json(changed=not module.check_mode, said=shout(module.params["word"]))


if __name__ == "__main__":
    main()
