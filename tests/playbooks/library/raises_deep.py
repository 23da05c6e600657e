#!/usr/bin/python
# Raises in a util, under comments and docstrings.
"""The module's own docstring."""

DOCUMENTATION = """
module: raises_deep
description: Not used by anything at run time.
"""

import traceback  # kept

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slip_deep import look


def main():
    """Say or raise."""
    # Said by the module itself, or by what catches it.
    module = AnsibleModule(argument_spec={"caught": {"type": "bool"}})
    if not module.params["caught"]:
        look()  # raises
    try:
        # Not here,
        look()  # here
    except LookupError:
        module.fail_json(msg="caught", exception=traceback.format_exc())


if __name__ == "__main__":
    main()
