#!/usr/bin/python
"""Imports what no target has."""

import no_such_package  # noqa: F401
from ansible.module_utils.basic import AnsibleModule  # noqa: F401
