"""Tasks without a fork: what stock runs in a worker process runs here, in the process of the playbook.

`choice` decides for each host and task, before anything has run; what is not known to be safe gets
stock's worker. `lane` is a worker without a process, `baton` lets one lane at a time run Ansible's
code, `isolation` keeps from each other what processes kept apart, `news` wakes the strategy.
"""
