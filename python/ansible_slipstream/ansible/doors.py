"""The three doors: callback, strategies, connections. They open on any ansible-core, to stock on an unknown one.

Nothing here stands on the insides of ansible-core: a release may take away what our other modules import.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from ansible.plugins.connection import local as stock_local
from ansible.plugins.connection import ssh as stock_ssh
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display

from . import options

display = Display()


def activate() -> bool:
    """Switch Slipstream on; a second call changes nothing. Returns whether it is on.

    On an ansible-core whose seams are not as tested, or with Slipstream switched off, everything
    stays stock and is said once at -v.
    """
    activation = _activation()
    return activation is not None and bool(activation.activate())


@functools.cache
def _activation() -> ModuleType | None:
    try:
        from . import activation
    except (ImportError, AttributeError) as error:
        display.v(f"Slipstream does not know this ansible-core ({error}); stock Ansible runs everything.")
        return None
    return activation


class Disguised:
    """Mixed into our strategies: Ansible compares the play's strategy with the names of its own."""

    stock_name: str

    def run(self, iterator: Any, play_context: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the play under stock's name."""
        iterator._play.strategy = self.stock_name
        return super().run(iterator, play_context, *args, **kwargs)  # type: ignore[misc]


def door(name: str) -> type:
    """Return the class for ``slipstream.core.<name>``: stock's options under stock's names.

    Switched off, or on an ansible-core that is not known, it is stock's own class with the name changed.
    """
    # As the plugin loader made it: it imports files under names of its own, or finds the module imported already.
    stock = {"ssh": stock_ssh, "local": stock_local}[name].Connection
    active, activation = activate(), _activation()
    # Loading stock's plugin once makes its options known.
    connection_loader.get(name, class_only=True)
    options.declare(name)
    base: Any = activation.accelerated(stock) if active and activation else stock

    def prepare(self: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *args, **kwargs)
        if active and not getattr(self._shell, "_IS_WINDOWS", False):
            self.slipstream_prepare()

    # Options, variables and their defaults are looked up by this name.
    load_name = property(lambda self: name, lambda self, value: None)
    return type("Connection", (base,), {"__module__": stock.__module__, "__init__": prepare, "_load_name": load_name})
