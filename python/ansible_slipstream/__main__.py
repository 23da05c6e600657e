"""``python -m ansible_slipstream`` is the ``slipstream`` command."""

from .cli import main

main()
