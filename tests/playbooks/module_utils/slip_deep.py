"""Raises far below comments and docstrings.

A traceback names lines by number and shows their text: neither may tell that anything was left out.
"""

# A comment of its own,
# of two lines.
from __future__ import annotations


class Well:
    """Has a docstring,

    and nothing between it and the method but this.
    """

    # How deep it is.
    depth = 3  # stays in the line

    def fall(self, at):
        """Call itself until the ground."""

        # Before the statement.
        if at < self.depth:
            return self.fall(
                # An argument's own comment.
                at + 1,  # one deeper
            )
        text = """
        # not a comment
        """
        raise LookupError(  # where it happens
            "no water at %d%s" % (at, text.strip())
        )  # after it


def look():
    """Only this."""
    return Well().fall(0)  # the way down
