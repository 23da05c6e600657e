#!/usr/bin/python
"""Ends in the way that `how` names: modules of the field do all of these."""

import atexit
import os
import resource
import signal
import subprocess
import sys
import threading

from ansible.module_utils.basic import AnsibleModule

BIG_NUMBER = 40000  # 240 KB of lines, more than a pipe holds


def raise_error(module):
    raise ValueError("boom \u00e9")


def fail_json_in_except(module):
    try:
        raise KeyError("k")
    except KeyError:
        module.fail_json(msg="caught", detail=1)


def return_without_exit(module):
    return


def exit_3_with_junk(module):
    print("not json")
    sys.stderr.write("to stderr\n")
    sys.exit(3)


def junk_around_json(module):
    print("junk before")
    print('{"x": 1')
    atexit.register(print, "junk after")
    module.exit_json(ok=1)


def write_stderr(module):
    sys.stderr.write("a line on stderr\n")
    module.exit_json(ok=1)


def kill_itself(module):
    os.kill(os.getpid(), signal.SIGKILL)


def terminate_itself(module):
    os.kill(os.getpid(), signal.SIGTERM)


def abort(module):
    os.abort()


def exceed_memory(module):
    resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
    module.exit_json(text="x" * (1 << 30))


def close_stdin(module):
    os.close(0)
    module.exit_json(ok=1, said=module.run_command(["cat"])[1])


def close_all(module):
    os.closerange(3, 256)
    module.exit_json(ok=1)


def become_daemon(module):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for descriptor in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        os.execlp("sleep", "sleep", "2")
    os.wait()
    module.exit_json(ok=1)


def run_in_thread(module):
    thread = threading.Thread(target=lambda: print('{"from": "a thread"}'))
    thread.start()
    sys.exit(0)


def segfault(module):
    os.kill(os.getpid(), signal.SIGSEGV)


def hang_up(module):
    os.kill(os.getpid(), signal.SIGHUP)


def broken_pipe(module):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)


def print_megabytes(module):
    sys.stderr.write("e" * (1 << 20))
    module.exit_json(text="x" * (3 << 20))


def print_junk(module):
    print("junk {[ before")
    print("[WARNING]: not ours")
    atexit.register(print, "} junk after")
    module.exit_json(ok=1)


def print_not_utf8_junk(module):
    os.write(1, b"caf\xe9\n")
    os.write(2, b"caf\xe9\n")
    module.exit_json(ok=1)


def print_nothing(module):
    sys.exit(0)


def print_list(module):
    print('[1, 2]')
    sys.exit(0)


def hard_exit(module):
    os._exit(5)


def print_at_exit(module):
    atexit.register(print, "after exit")
    module.exit_json(ok=1)


def leave_child(module):
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen(["sleep", "2"], **quiet)
    module.exit_json(ok=1)


def exit_with_text(module):
    sys.exit("a text")


def exit_with_what_cannot_be_said(module):
    class Mute(object):
        def __str__(self):
            raise ValueError("mute")

    sys.exit(Mute())


def break_the_hook(module):
    def hook(*error):
        raise ValueError("broken hook")

    sys.excepthook = hook
    raise KeyError("original")


def remove_stderr(module):
    sys.stderr = None
    raise KeyError("original")


def change_process(module):
    os.chdir("/")
    os.umask(0o777)
    os.environ["LEFT_BEHIND"] = "1"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.modules["json"].dumps = None
    print('{"ok": 1}')
    sys.exit(0)


def exit_with_big_number(module):
    sys.exit(1 << 70)


def exit_255(module):
    sys.exit(255)


def end_at_exit(module):
    atexit.register(os._exit, 9)
    module.exit_json(ok=1)


def interrupt(module):
    raise KeyboardInterrupt


def warn_and_deprecate(module):
    module.warn("a warning")
    module.deprecate("an old thing", version="99.9", collection_name="test.words")
    # Who says so is told by the path of the code.
    module.deprecate("an older thing", version="99.8")
    module.exit_json(
        changed=True,
        ansible_facts={"misbehaved": 1},
        raw_bytes=b"x",
        text="\u00e9\u2603",
        secret=module.params["secret"],
    )


def print_big(module):
    module.exit_json(lines="".join("%05d\n" % number for number in range(BIG_NUMBER)))


def print_not_utf8(module):
    os.write(1, b'{"text": "\xff\xfe caf\xe9"}\n')
    os._exit(0)


class Last:
    """Says so when it is let go."""

    def __del__(self):
        os.write(1, b"the last word")


def leave_cycle(module):
    last = Last()
    last.itself = last
    module.exit_json(ok=1)


def leave_global(module):
    globals()["kept"] = Last()
    module.exit_json(ok=1)


def start_what_is_missing(module):
    subprocess.Popen(["/no/such/program"])


def main():
    module = AnsibleModule(
        argument_spec={
            "how": {"required": True, "aliases": ["way"]},
            "secret": {"no_log": True},
            "number": {"type": "int", "choices": [1, 2]},
        }
    )
    globals()[module.params["how"]](module)


if __name__ == "__main__":
    main()
