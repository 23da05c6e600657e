"""Runs one module in a forked child, as AnsiballZ would in a fresh interpreter.

Every rule here is visible in some module's result; docs/ticket.md lists them with their reasons.
"""

from __future__ import absolute_import

import gc
import os
import random
import re
import signal
import sys
import time

from . import importer, terminals

# As sudo shows it, and as its versions show what they gave to a shell of the account (-i, -s).
FIRST_STAGE_MARK = re.compile(r"\\? -c\\? \\?'import\\? sys\\?;sys\\?\.path\\?\[")
# Those that put the whole command into the environment.
COMMAND_VARIABLES = ("SUDO_COMMAND", "DZDO_COMMAND")

# The agent's own modules, out of the module's sight; Python 2 empties a module that nobody holds.
_kept = []


def run(job, params, finder, preloaded, files, cwd, say):
    """Run the module of ``job``, ``say`` the exit code and end the process; never returns."""
    code = 70
    pid = os.getpid()
    try:
        _become_jobs(job, cwd)
        code = _call(job, params, finder, preloaded, files)
    finally:
        try:
            code = _finish(code)
            # What a module has forked comes by here too.
            if os.getpid() == pid:
                say(code)
                if job.get("terminal"):
                    terminals.let_go()
        finally:
            os._exit(code)


def prepare():
    """Make the process look like one that a login shell has just started."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name in list(sys.modules):
        if name.partition(".")[0] == "_slipstream":
            _kept.append(sys.modules.pop(name))
    _hide_first_stage()
    sys.path[:] = [entry for entry in sys.path if entry not in ("", ".")]
    sys.argv[:] = [""]


def _become_jobs(job, cwd):
    """Add what is the job's own."""
    if job.get("terminal"):
        terminals.take(job["terminal"])
    _add_environment(job["env"])
    time.tzset()
    random.seed()
    if cwd is not None:
        _enter(cwd)
    if job.get("rlimit_nofile"):
        _limit_files(job["rlimit_nofile"])
    _forget_folders()


def _forget_folders():
    """Have imports look into folders anew: packages may have been installed.

    importlib.invalidate_caches would import importlib.metadata, email and zipfile since Python 3.12: 5 ms.
    """
    for finder in list(sys.path_importer_cache.values()):
        if hasattr(finder, "invalidate_caches"):
            finder.invalidate_caches()


def _enter(cwd):
    try:
        os.chdir(cwd)
        os.getcwd()
    except OSError:
        try:
            os.chdir(os.path.expanduser("~"))
        except OSError:
            os.chdir("/")


def _add_environment(environment):
    # A shell would have set the bytes of the command line, whatever this interpreter's encoding is.
    if importer.PY3:
        for name, value in environment.items():
            os.environb[name.encode("utf-8", "surrogateescape")] = value.encode("utf-8", "surrogateescape")
    else:
        os.environ.update(environment)


def _hide_first_stage():
    # Stock's command ends with the interpreter.
    for name in COMMAND_VARIABLES:
        mark = FIRST_STAGE_MARK.search(os.environ.get(name, ""))
        if mark:
            os.environ[name] = os.environ[name][: mark.start()]


def _limit_files(wanted):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    asked = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if asked != soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (asked, hard))
        except ValueError:
            # Some systems (macOS) do not tell their true hard limit.
            pass


def _call(job, params, finder, preloaded, files):
    """Run the module and return the exit code that its interpreter would end with."""
    folder = None
    try:
        try:
            _settle_temporary_folder()
            base = preloaded.base
            if not preloaded.fits(files):
                preloaded.forget()
                base = _zip_path(job, "/tmp/ansible_%s_payload_%08x" % (job["name"], random.getrandbits(32)))
            # All from one zip, as under stock: utilities tell by the path whose code calls them.
            finder.use(files, base)
            # The words on code that is no code are those of the interpreter's own importer.
            if job.get("zip") or not finder.compile(files, base):
                folder, base = _write_zip(job, finder, files)
                preloaded.forget()
                sys.meta_path.remove(finder)
                finder.use({}, "")
            sys.path.insert(0, base)
            if job.get("legacy"):
                _run_legacy(job, params, base)
            else:
                _run_profiled(job, params, base)
            return 0
        finally:
            if folder:
                import shutil

                shutil.rmtree(folder, ignore_errors=True)
    except SystemExit as request:
        return _exit_code(request.code)
    except BaseException:
        return _report_exception()


def _settle_temporary_folder():
    """Decide where temporary files go before the module can change what says so, as AnsiballZ's own folder does."""
    import tempfile

    try:
        tempfile.gettempdir()
    except (OSError, IOError):
        # There is no place for them: for the module to say.
        pass


def _zip_path(job, folder):
    return "%s/ansible_%s_payload.zip" % (folder, job["name"])


def _write_zip(job, finder, files):
    """Write the closure as AnsiballZ does, for modules that hand the zip to another interpreter."""
    import tempfile
    import zipfile

    folder = os.path.realpath(tempfile.mkdtemp(prefix="ansible_%s_payload_" % job["name"]))
    base = _zip_path(job, folder)
    finder.use(files, base)
    archive = zipfile.ZipFile(base, "w")
    for path in files:
        # A fixed date: zip knows none before 1980, and a clock may be there.
        archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), finder.content(path))
    start = 'import sys\nsys.path.insert(0, "%s")\n' % base
    archive.writestr(zipfile.ZipInfo("sitecustomize.py", (2020, 1, 1, 0, 0, 0)), start.encode("utf-8"))
    archive.close()
    return folder, base


def _run_profiled(job, params, base):
    """Run a module of ansible-core 2.19 and later."""
    from ansible.module_utils._internal._ansiballz import _loader

    _loader.run_module(
        json_params=params, profile=job["profile"], module_fqn=job["fqn"], modlib_path=base, extensions={}
    )


def _run_legacy(job, params, base):
    """Run a module of ansible-core 2.18 and earlier, inside frames that tracebacks show as AnsiballZ's."""
    import runpy

    from ansible.module_utils import basic

    basic._ANSIBLE_ARGS = params
    run_line, invoke_line, main_line = job["frames"]
    lines = [""] * main_line
    lines[run_line - 2] = "def invoke_module():"
    # In two lines as there: up to Python 3.7 a traceback names the last line of a call.
    lines[run_line - 1] = "    runpy.run_module(mod_name=fqn, init_globals=dict(_module_fqn=fqn, _modlib_path=base),"
    lines[run_line] = "        run_name='__main__', alter_sys=True)"
    lines[invoke_line - 2] = "def _ansiballz_main():"
    lines[invoke_line - 1] = "    invoke_module()"
    lines[main_line - 1] = "_ansiballz_main()"
    names = {"runpy": runpy, "fqn": job["fqn"], "base": base, "__name__": "__main__"}
    exec(compile("\n".join(lines), "<stdin>", "exec", 0, True), names)
    sys.stdout.write('{"msg": "New-style module did not handle its own exit", "failed": true}\n')
    sys.exit(1)


def _exit_code(code):
    if code is None:
        return 0
    if isinstance(code, int):
        # What C has no number for counts as -1.
        return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 255
    try:
        words = "%s\n" % (code,)
    except BaseException:
        words = "\n"
    _complain(words)
    return 1


def _complain(words):
    """Write to standard error as the interpreter itself does, whatever a module has made of ``sys.stderr``."""
    try:
        sys.stderr.write(words)
    except BaseException:
        os.write(2, words if isinstance(words, bytes) else words.encode("utf-8", "replace"))


def _report_exception():
    """Do what the interpreter does with an uncaught exception, and return its exit code."""
    kind, error, trace = sys.exc_info()
    # Since 3.8 it dies by the signal, which a shell reports so.
    interrupted = issubclass(kind, KeyboardInterrupt) and sys.version_info >= (3, 8)
    trace = _without_ours(trace)
    # Stock has deleted its zip by now: the interpreter finds no source lines to show.
    importer.Loader.sources = False
    try:
        if sys.excepthook is sys.__excepthook__:
            _print_exception(kind, error, trace)
        else:
            # Modules of ansible-core 2.17 and later answer from a hook of their own.
            sys.excepthook(kind, error, trace)
    except SystemExit as request:
        return _exit_code(request.code)
    except BaseException:
        hooks_kind, hooks_error, hooks_trace = sys.exc_info()
        _forget_context(hooks_error, error)
        _complain("Error in sys.excepthook:\n")
        _print_exception(hooks_kind, hooks_error, _without_ours(hooks_trace))
        _complain("\nOriginal exception was:\n")
        _print_exception(kind, error, trace)
    return 130 if interrupted else 1


def _forget_context(error, context):
    """The interpreter does not handle one error while it calls its hook for it."""
    while getattr(error, "__context__", None) not in (None, context):
        error = error.__context__
    error.__context__ = None


def _without_ours(trace):
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<slipstream "):
        trace = trace.tb_next
    return trace


def _print_exception(kind, error, trace):
    if sys.stderr is None:
        return
    import linecache

    linecache.clearcache()
    if importer.PY3:
        # What it has itself is shown in the place of what is handed over.
        error.with_traceback(trace)
    sys.__excepthook__(kind, error, trace)


def _finish(code):
    """Do what the interpreter does at its end, and return the exit code."""
    # It does so before functions that are to run at exit.
    _flush()
    try:
        import threading

        shutdown = getattr(threading, "_shutdown", None)
        if shutdown:
            shutdown()
    except BaseException:
        pass
    try:
        import atexit

        getattr(atexit, "_run_exitfuncs")()
    except SystemExit as request:
        code = _exit_code(request.code)
    except BaseException:
        pass
    # Finalizers of what is in cycles, as are the module's globals now: they delete files, and write open ones.
    gc.collect()
    _flush()
    return code


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
