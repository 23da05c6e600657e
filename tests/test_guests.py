"""Accounts that tasks become: their processes are killed by others, their rights and their shells are unusual.

For a machine of one's own (`targets/alone.py`): whoever else uses these accounts at the time loses its processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.accounts import CAROL
from kit.plays import Play

# Only what stock says with `sudo -H -S -n`, nothing else that begins so.
RULE = f"{CAROL.name} ALL=(ALL) NOPASSWD: /bin/sh -c echo BECOME-SUCCESS-[a-z]* ; /usr/bin/python3\n"
SUDOERS = Path("/etc/sudoers.d/slip-test-guests")


@pytest.fixture
def one_command_allowed() -> Iterator[None]:
    SUDOERS.write_text(RULE)
    SUDOERS.chmod(0o440)
    try:
        yield
    finally:
        SUDOERS.unlink()


def codes(play: Play, hosts: str, tasks: str, no_modules: bool = False) -> dict[str, list[int]]:
    """Compare the runs, and return each host's return codes."""
    run = play.compare(hosts, tasks, no_modules=no_modules)
    found: dict[str, list[int]] = {}
    for event in run.events:
        if "rc" in event.result:
            found.setdefault(event.host or "", []).append(event.result["rc"])
    return found


def ready(*users: str) -> str:
    """Return tasks that root makes homes ready with: who is first in one is warned."""
    return "".join(
        f"- {{raw: 'install -d -m 700 -o {user} ~{user}/.ansible ~{user}/.ansible/tmp'}}\n" for user in users
    )


def test_all_processes_of_an_account_are_killed(play: Play) -> None:
    """By a program that nobody knows beforehand: an agent that waits there is lost, and no task with it. That of the
    login goes with its connection."""
    for name in ("carol", "alice"):
        play.file(name, f"pkill -KILL -u slip-{name}\ntrue\n")
    who = "- {command: id -un, when: inventory_hostname == 'plain'"
    as_carol = ", become: true, become_user: slip-carol}\n"
    tasks = who + "}\n" + who + as_carol
    for name in ("carol", "alice"):
        tasks += f"- {{raw: 'sh {play.folder}/{name}', when: inventory_hostname == 'root'}}\n"
        tasks += who + as_carol + who + "}\n"
    assert codes(play, "plain,root", tasks) == {"plain": [0] * 6, "root": [0, 0]}


@pytest.mark.usefixtures("one_command_allowed")
def test_sudo_that_allows_stocks_command_only(play: Play) -> None:
    """An agent is another command: it is refused, and stock's command runs."""
    tasks = """\
- {command: id -un, become: true}
- {command: id -un, become: true, become_user: slip-alice}
- {copy: {content: x, dest: "{{ work }}/x", mode: "0644"}, become: true}
- {raw: id -un, become: true, ignore_errors: true}
- {command: id -un, become: true}
"""
    assert codes(play, "password", tasks, no_modules=True)["password"][:2] == [0, 0]


@pytest.mark.parametrize("method", ["sudo", "sudo -i", "su", "su -"])
def test_accounts_with_other_shells(play: Play, method: str) -> None:
    name, _, flag = method.partition(" ")
    variables = f"vars: {{ansible_become_method: {name}, ansible_become_flags: '{flag}'}}"
    users = ("slip-tess", "slip-finn", "slip-nora")
    tasks = ready(*users)
    for user in users:
        same = f"become: true, become_user: {user}, ignore_errors: true, {variables}"
        tasks += f"""\
- {{shell: 'echo "it''s" $HOME ! && id -un', {same}}}
- {{command: printenv WORD, environment: {{WORD: 'it''s $HOME !'}}, {same}}}
- {{copy: {{content: x, dest: "{{{{ work }}}}/{user}"}}, environment: {{WORD: ü}}, {same}}}
"""
    # From 2.19 on stock does not pipeline su, which asks on a terminal.
    found = codes(play, "root", tasks, no_modules=name == "su")["root"]
    assert found[:7] == [0] * 7, found


PROMPTS = {
    "german": "Passwort: ",
    "french": "Mot de passe\u00a0: ",
    "chinese": "密码\uff1a",
    "named": "slip-carol's Password:",
    "own": "Parole: ",
}
ASKS = """\
#!/bin/sh
printf '%s' "{prompt}" >&2
read word
[ "$word" = right ] && exec su "$@"
echo 'su: Authentifizierungsfehler' >&2
exit 1
"""


def test_su_asks_in_other_languages(play: Play) -> None:
    """A stand-in asks, and lets the real one do the rest."""
    tasks = ready(CAROL.name)
    for name, prompt in PROMPTS.items():
        play.file(name, ASKS.format(prompt=prompt))
        known = ", ansible_su_prompt_l10n: [Parole]" if name == "own" else ""
        for password in ("right", "wrong"):
            variables = f"ansible_become_exe: sh {play.folder}/{name}, ansible_become_password: {password}{known}"
            same = f"become: true, become_method: su, become_user: slip-carol, vars: {{{variables}}}"
            tasks += f"- {{command: id -un, ignore_errors: true, {same}}}\n"
            if password == "right":
                tasks += f"- {{raw: id -un, ignore_errors: true, {same}}}\n"
    found = codes(play, "root", tasks, no_modules=True)["root"]
    # 2.16 does not know all of them.
    assert found.count(0) >= 1 + 2 * (len(PROMPTS) - 1), found
