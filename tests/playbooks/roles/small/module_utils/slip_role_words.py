"""A role's module_util."""


def reverse(word):
    return word[::-1]
