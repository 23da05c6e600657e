"""Stock's ssh connection, accelerated: the door for one host or group at a time."""

from __future__ import annotations

from ansible_slipstream.ansible.doors import door

DOCUMENTATION = """
name: ssh
short_description: The ssh connection, many times faster
description:
  - Takes every option of P(ansible.builtin.ssh#connection), by the same names.
options: {}
"""

Connection = door("ssh")
