"""Ansible's side: tickets, connections, activation. The only part of the package that imports Ansible."""

import sys

# Before we import anything of Ansible's.
IMPORTED_BY_STOCK = frozenset(sys.modules)
