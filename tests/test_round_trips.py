"""How often a step goes to the target and back, counted by a relay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.relay import Relay
from kit.runner import Controller
from kit.sshd import Sshd

# Seconds each way: what does not wait for an answer is on its way before one comes.
DELAY = 0.1


@pytest.fixture
def round_trips(venv: Path, sshd: Sshd, open_folder: Path) -> Iterator[Callable[[str], int]]:
    """Return a function that runs tasks on a warm link and returns how many round trips they took."""
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

            def run(tasks: str) -> int:
                relay.counts.settle()
                before = relay.counts.turns
                playbook = open_folder / "play.yml"
                playbook.write_text(f"[{{hosts: plain, gather_facts: false, tasks: [{tasks}]}}]")
                result = controller.run(playbook, "-e", f"ansible_port={relay.port}")
                assert result.rc == 0, result.stdout + result.stderr
                return relay.counts.turns - before

            run("{ping: }")
            yield run


def test_first_use_of_a_module_is_one_round_trip(round_trips: Callable[[str], int]) -> None:
    # The target has neither the module nor its three utilities, each known only by the one before.
    assert round_trips("{test.chain.chained: }") == 1
    assert round_trips("{test.chain.chained: }") == 1


def test_step_is_one_round_trip(round_trips: Callable[[str], int]) -> None:
    assert round_trips("{command: hostname}") == 1
    assert round_trips(", ".join(["{command: hostname}"] * 5)) == 5


def test_copy_asks_as_little_as_it_can(round_trips: Callable[[str], int], open_folder: Path) -> None:
    place = open_folder / "place"
    place.mkdir()
    place.chmod(0o777)
    copy = f"{{copy: {{content: '{{{{ item }}}}', dest: '{place}/{{{{ item }}}}'}}, loop: [1, 2, 3]}}"
    # What is there, where home is, a temporary folder, the module with its file, and the folder goes.
    assert round_trips(copy) == 3 * 5
    # It is there already, and stock has made its folder all the same.
    assert round_trips(copy) == 3 * 5
