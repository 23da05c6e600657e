"""Test kit: a private sshd, throw-away accounts, and playbook runs that can be compared."""
