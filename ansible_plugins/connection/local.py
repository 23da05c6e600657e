"""Stock's local connection, accelerated: the door for one host or group at a time."""

from __future__ import annotations

from ansible_slipstream.ansible.doors import door

DOCUMENTATION = """
name: local
short_description: The local connection, many times faster
description:
  - Takes every option of P(ansible.builtin.local#connection), by the same names.
options: {}
"""

Connection = door("local")
