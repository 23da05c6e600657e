"""Tells what another file says of itself."""

from __future__ import absolute_import


def describe(function):
    """Return its documentation."""
    return function.__doc__
