"""What runs on a target: the standard library of Python 2.7 and 3.6 to 3.14, and nothing else.

The daemon sends these files to the target's Python and runs them as modules of a package named
``_slipstream``; here they are an ordinary package, for tests and type checks. Plain ASCII only.
"""
