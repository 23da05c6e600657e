#!/usr/bin/python
"""Only its documentation is used; the action plugin of the same name does the work."""
