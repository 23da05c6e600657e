"""How often a step goes to the target and back, seen by the time it takes over a long way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.relay import Relay
from kit.runner import Controller
from kit.sshd import Sshd

# Seconds each way; a round trip more than expected shows against what a busy machine adds.
DELAY = 0.4
ROUND_TRIP = 2 * DELAY


@pytest.fixture
def seconds(venv: Path, sshd: Sshd, open_folder: Path) -> Iterator[Callable[[str], float]]:
    """Return a function that runs tasks on a warm link and returns how long the playbook took."""
    utils = open_folder / "collections" / "ansible_collections" / "test" / "chain" / "plugins" / "module_utils"
    modules = utils.parent / "modules"
    for folder in (utils, modules):
        folder.mkdir(parents=True)
    names = "ansible_collections.test.chain.plugins.module_utils"
    (utils / "first.py").write_text(f"from {names}.second import word\n")
    (utils / "second.py").write_text(f"from {names}.third import word\n")
    (utils / "third.py").write_text("word = 'at the end'\n")
    (modules / "chained.py").write_text(
        "#!/usr/bin/python\nfrom ansible.module_utils.basic import AnsibleModule\n"
        f"from {names}.first import word\nAnsibleModule(argument_spec={{}}).exit_json(said=word)\n"
    )
    with Controller(venv, "slipstream", sshd, open_folder / "run") as controller:
        config = open_folder / "run" / "ansible.cfg"
        config.write_text(
            config.read_text().replace("[defaults]", f"[defaults]\ncollections_path = {open_folder}/collections")
        )
        with Relay(sshd.port, delay=DELAY) as relay:
            relay.make_known(open_folder / "run" / "known_hosts")

            def run(tasks: str) -> float:
                playbook = open_folder / "play.yml"
                playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{tasks}]}}]")
                result = controller.run(playbook, "-e", f"ansible_port={relay.port}")
                assert result.rc == 0, result.stdout + result.stderr
                return result.seconds

            run("{ping: }")
            yield run


def test_first_use_of_a_module_is_one_round_trip(seconds: Callable[[str], float]) -> None:
    known = min(seconds("{ping: }") for _ in range(2))
    # The target has neither the module nor its three utilities, each known only by the one before.
    unknown = seconds("{test.chain.chained: }")
    assert unknown - known < ROUND_TRIP / 2
    assert seconds("{test.chain.chained: }") - known < ROUND_TRIP / 2


def test_step_is_one_round_trip(seconds: Callable[[str], float]) -> None:
    steps = 5
    one = min(seconds("{command: hostname}") for _ in range(2))
    more = seconds(", ".join(["{command: hostname}"] * (steps + 1)))
    assert (more - one) / steps < 1.1 * ROUND_TRIP
