#!/usr/bin/python
"""Written for Ansible 1: the arguments are pasted in as JSON."""

import json

arguments = json.loads("""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>""")
print(json.dumps({"changed": False, "got": arguments["word"]}))
