#!/usr/bin/python
"""Has a utility read what it says of itself; it does not do so itself."""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slip_describe import describe


def main():
    """The words."""
    AnsibleModule(argument_spec={}).exit_json(words=describe(main))


if __name__ == "__main__":
    main()
