"""A collection's module_util."""


def whisper(word):
    return word.lower() + "..."
