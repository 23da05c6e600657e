"""How often a step goes to the target and back, counted by a relay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.accounts import ALICE
from kit.relay import Relay
from kit.runner import Controller
from kit.sshd import Sshd
from kit.versions import core

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


# A play's first question: where home is. Then a copy makes a folder, asks what is there, and runs a module; the file
# goes with that, and so does the folder.
HOME, COPY = 1, 3


@pytest.fixture
def place(open_folder: Path) -> Path:
    """A folder for both sides."""
    place = open_folder / "place"
    place.mkdir()
    place.chmod(0o777)
    return place


def test_copy_asks_as_little_as_it_can(round_trips: Callable[[str], int], place: Path) -> None:
    copy = f"{{copy: {{content: '{{{{ item }}}}', dest: '{place}/{{{{ item }}}}'}}, loop: [1, 2, 3]}}"
    assert round_trips(copy) == HOME + COPY * 3
    # It is there already: the same, with nothing to send.
    assert round_trips(copy) == HOME + COPY * 3
    # Later tasks do not ask again.
    assert round_trips(f"{copy}, {copy}") == HOME + COPY * 6


def test_file_actions_ask_as_little_as_they_can(
    venv: Path, round_trips: Callable[[str], int], place: Path, open_folder: Path
) -> None:
    template = open_folder / "template.j2"
    template.write_text("of {{ item }}\n")
    tasks = f"{{template: {{src: '{template}', dest: '{place}/{{{{ item }}}}'}}, loop: [1, 2]}}"
    assert round_trips(tasks) == HOME + COPY * 2
    (open_folder / "tree" / "inner").mkdir(parents=True)
    files = {"one": "1", "two": "2", "inner/three": "3"}
    for name, content in files.items():
        (open_folder / "tree" / name).write_text(content)
    # A folder for all of them, which goes by itself. Up to 2.19 stock makes an inner folder that its files have made.
    inner = 1 if core(venv) < (2, 20) else 0
    tree = f"{{copy: {{src: '{open_folder}/tree/', dest: '{place}/tree'}}}}"
    assert round_trips(tree) == HOME + 2 * len(files) + 2 + inner
    assert {name: (place / "tree" / name).read_text() for name in files} == files
    assert round_trips(f"{{stat: {{path: '{place}/{{{{ item }}}}'}}, loop: [1, 2]}}") == 2
    assert round_trips(f"{{file: {{path: '{place}/{{{{ item }}}}', mode: '600'}}, loop: [1, 2]}}") == 2
    # What is there, and the file.
    fetch = f"{{fetch: {{src: '{place}/{{{{ item }}}}', dest: '{open_folder}/fetched'}}, loop: [1, 2]}}"
    assert round_trips(fetch) == 2 * 2


def test_copy_without_a_users_name(round_trips: Callable[[str], int], place: Path, sshd: Sshd) -> None:
    sessions = sshd.sessions()
    nobody = f"vars: {{ansible_user: null, ansible_ssh_extra_args: '-o User={ALICE.name}'}}"
    round_trips(f"{{ping: , {nobody}}}")
    before = sshd.sessions()
    copy = f"{{copy: {{content: x, dest: '{place}/{{{{ item }}}}'}}, loop: [1, 2, 3], {nobody}}}"
    assert round_trips(copy) == HOME + COPY * 3
    assert sshd.sessions() == before > sessions
