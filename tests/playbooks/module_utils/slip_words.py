"""Found by `ansible.module_utils.slip_words`, as any module_util beside a playbook."""


def shout(word):
    return word.upper() + "!"
