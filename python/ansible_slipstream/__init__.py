"""Slipstream: many times faster Ansible, without changing a playbook.

The public API is `ansible_slipstream.client`; the command line is ``slipstream``.
"""

from __future__ import annotations

from ._native import VERSION as __version__

__all__ = ["__version__"]
