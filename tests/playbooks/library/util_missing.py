#!/usr/bin/python
"""Imports a module_util that does not exist: the controller finds that before anything runs."""

from ansible.module_utils.no_such_util import nothing  # noqa: F401
