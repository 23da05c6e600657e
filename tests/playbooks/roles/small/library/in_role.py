#!/usr/bin/python
"""A role's module with a role's module_util."""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slip_role_words import reverse


def main():
    module = AnsibleModule(argument_spec={"word": {"required": True}})
    module.exit_json(said=reverse(module.params["word"]))


if __name__ == "__main__":
    main()
