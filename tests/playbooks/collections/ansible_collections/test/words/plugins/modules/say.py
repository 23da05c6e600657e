#!/usr/bin/python
"""A collection's module that imports its util by a relative and by a full name."""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.test.words.plugins.module_utils.text import whisper

from ..module_utils import text


def main():
    module = AnsibleModule(argument_spec={"word": {"required": True}})
    module.exit_json(said=whisper(module.params["word"]), same=text.whisper is whisper)


if __name__ == "__main__":
    main()
