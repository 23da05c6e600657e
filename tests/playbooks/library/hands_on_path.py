#!/usr/bin/python
"""Has another interpreter import what this one can."""

import os
import sys

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(argument_spec={})
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", "import ansible.module_utils.basic as found; print(found.__name__)"]
    module.exit_json(answer=module.run_command(program, environ_update=path)[:2])


if __name__ == "__main__":
    main()
