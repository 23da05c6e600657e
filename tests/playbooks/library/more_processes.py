#!/usr/bin/python
"""Has processes of its own work, started in the way that `way` names."""

import multiprocessing

from ansible.module_utils.basic import AnsibleModule


def square(number):
    return number * number


def main():
    module = AnsibleModule(argument_spec={"way": {}})
    with multiprocessing.get_context(module.params["way"]).Pool(1) as pool:
        squares = pool.map(square, [1, 2])
    module.exit_json(squares=squares)


if __name__ == "__main__":
    main()
