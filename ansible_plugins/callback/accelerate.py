"""The recommended door: a callback is loaded in the main process before any strategy."""

from __future__ import annotations

from ansible.plugins.callback import CallbackBase

from ansible_slipstream.ansible.doors import activate

DOCUMENTATION = """
name: accelerate
type: aggregate
short_description: Runs playbooks many times faster
description:
  - Replaces the connection layer and the way modules are run, with equal results.
  - Prints nothing and receives nothing; being loaded is all it does.
requirements:
  - enabled with C(callbacks_enabled = slipstream.core.accelerate) in C(ansible.cfg)
options: {}
"""

# Ad hoc commands import the class without making an object.
activate()


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Stands in Ansible's list of callbacks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "slipstream.core.accelerate"
    CALLBACK_NEEDS_ENABLED = True
    CALLBACK_NEEDS_WHITELIST = True
