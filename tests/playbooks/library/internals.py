#!/usr/bin/python
"""Reports what Ansible tells a module beside its arguments."""

from ansible.module_utils.basic import AnsibleModule

NAMES = (
    "_name _debug _verbosity _diff _no_log check_mode _syslog_facility _socket _shell ansible_version "
    "_selinux_special_fs _string_conversion_action _keep_remote_files _remote_tmp tmpdir _tmpdir _target_log_info "
    "_ignore_unknown_opts _target_log_info _clean _allow_undeclared"
).split()


def main():
    module = AnsibleModule(argument_spec={"x": {}}, supports_check_mode=True)
    seen = dict((name, str(getattr(module, name, "none"))) for name in NAMES)
    module.exit_json(changed=False, seen=seen)


if __name__ == "__main__":
    main()
