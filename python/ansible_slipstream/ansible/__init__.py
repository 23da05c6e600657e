"""Ansible's side: tickets, connections, activation. The only part of the package that imports Ansible."""
