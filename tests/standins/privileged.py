#!/usr/bin/python3
"""Programs that become another user and can't be had here: each reads its arguments and asks as its manual says.

The name it is called by says which one it is. In a folder named `asking` it wants the password `open-sesame`;
the account that runs it may use sudo freely, which is how it gets what it promises.
"""

import getopt
import os
import pty
import sys
import termios
from collections.abc import Sequence
from typing import NoReturn, TextIO

PASSWORD = "open-sesame"
NAME = os.path.basename(sys.argv[0])
ASKING = os.path.basename(os.path.dirname(os.path.abspath(sys.argv[0]))) == "asking"


def fail(words: str) -> NoReturn:
    print(words, file=sys.stderr)
    sys.exit(1)


def read_line() -> str:
    """Read a line from standard input and not one byte more; nothing shows on a terminal."""
    before = None
    if os.isatty(0):
        before = termios.tcgetattr(0)
        silent = termios.tcgetattr(0)
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSADRAIN, silent)
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    if before:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    return line.decode().rstrip("\r\n")


def ask(prompt: str, stream: TextIO) -> str:
    stream.write(prompt)
    stream.flush()
    return read_line()


def become(user: str, command: list[str], variables: Sequence[str] = ()) -> NoReturn:
    os.execvp("sudo", ["sudo", "-n", "-H", "-u", user, *variables, *command])


def on_terminal(user: str, command: list[str]) -> NoReturn:
    """Run the command on a terminal of its own, as machinectl does."""
    status = pty.spawn(["sudo", "-n", "-H", "-u", user, *command])
    sys.exit(os.waitstatus_to_exitcode(status))


def dzdo(arguments: list[str]) -> NoReturn:
    """sudo's own child: -S asks on standard error and reads standard input, -n does not ask."""
    options, command = getopt.getopt(arguments, "HSnp:u:")
    given = dict(options)
    if ASKING:
        if "-n" in given:
            fail("dzdo: a password is required")
        for _ in range(3):
            if ask(given.get("-p", "Password: "), sys.stderr) == PASSWORD:
                break
            print("Sorry, try again.", file=sys.stderr)
        else:
            fail("dzdo: 3 incorrect password attempts")
    user = given.get("-u", "root")
    become(user, command, ["DZDO_COMMAND=" + " ".join(command), "DZDO_USER=" + os.environ["USER"]])


def ksu(arguments: list[str]) -> NoReturn:
    """The target user comes first; -e has a command that no shell reads."""
    user, *rest = arguments
    options, command = getopt.getopt(rest, "e")
    if ("-e", "") not in options:
        fail("ksu: no command")
    if ASKING:
        password = ask(f"Kerberos password for {os.environ['USER']}@EXAMPLE.ORG: : ", sys.stdout)
        if password != PASSWORD:
            fail("ksu: Password incorrect" if password else "ksu: No password given")
    print(f"Authenticated {os.environ['USER']}@EXAMPLE.ORG", file=sys.stderr)
    print(f"Changing uid to {user}", file=sys.stderr)
    become(user, command)


def pbrun(arguments: list[str]) -> NoReturn:
    options, command = getopt.getopt(arguments, "u:")
    if ASKING and ask("Password:", sys.stdout) != PASSWORD:
        fail("pbrun: Password incorrect")
    become(dict(options).get("-u", "root"), command)


def pfexec(arguments: list[str]) -> NoReturn:
    """Asks nothing, and its profiles choose the user."""
    become("root", getopt.getopt(arguments, "P:")[1])


def pmrun(arguments: list[str]) -> NoReturn:
    """Takes a command line in one word."""
    if ASKING and ask("Enter UPM user password:", sys.stdout) != PASSWORD:
        fail("pmrun: wrong password")
    become("root", ["/bin/sh", "-c", " ".join(arguments)])


def sesu(arguments: list[str]) -> NoReturn:
    _, rest = getopt.getopt(arguments, "HSn")
    user, flag, *command = rest
    if flag != "-c":
        fail("sesu: no command")
    if ASKING and ask("Please enter your password:", sys.stdout) != PASSWORD:
        fail("Sorry, try again with sesu.")
    become(user, command)


def polkit() -> None:
    if ASKING:
        print("==== AUTHENTICATING FOR org.freedesktop.machine1.host-shell ====")
        if ask("Password: ", sys.stdout) != PASSWORD:
            fail("==== AUTHENTICATION FAILED ====")
        print("==== AUTHENTICATION COMPLETE ====", flush=True)


def machinectl(arguments: list[str]) -> NoReturn:
    """`shell [USER@][MACHINE] [PATH [ARGUMENT...]]`, always on a terminal of the command's own."""
    _, (verb, place, *command) = getopt.getopt(arguments, "q")
    if verb != "shell":
        fail("machinectl: unknown command")
    polkit()
    on_terminal(place.partition("@")[0] or "root", command)


def run0(arguments: list[str]) -> NoReturn:
    """A terminal for the command if there is one on this side, pipes if not."""
    options, command = getopt.getopt(arguments, "u:", ["user="])
    polkit()
    user = dict(options).get("--user", "root")
    if os.isatty(0):
        on_terminal(user, command)
    become(user, command)


if __name__ == "__main__":
    globals()[NAME](sys.argv[1:])
