"""Imports a closure's modules from memory, looking to them as if they came from AnsiballZ's zip."""

from __future__ import absolute_import

import gc
import os
import random
import sys
import types

PY3 = sys.version_info[0] >= 3
# Code objects can be copied since Python 3.8.
CAN_MOVE = hasattr(types.CodeType, "replace")
PREFIXES = ("ansible", "ansible_collections")
# What is no code, has null bytes, or goes too deep, in each version's words.
NOT_COMPILED = (SyntaxError, ValueError, TypeError, MemoryError, RuntimeError)

if PY3:
    # importlib.abc would import more than any module under AnsiballZ finds imported.
    from importlib.machinery import ModuleSpec


class Closures(object):
    """The closures this agent holds, and the content of their files by number."""

    def __init__(self):
        self._files = {}
        self._blobs = []

    def add(self, digest, head, content):
        """Add a closure; ``content`` is that of its new blobs, one after the other."""
        at = 0
        for size in head["sizes"]:
            self._blobs.append(content[at : at + size])
            at += size
        self._files[digest] = dict(zip(unpack_names(head["names"]), head["files"]))

    def files(self, digest):
        """Return path to blob number of a closure's files."""
        return self._files[digest]

    def has(self, digest):
        """Tell whether a closure is held."""
        return digest in self._files

    def digests(self):
        """Return the closures that are held."""
        return list(self._files)

    def content(self, number):
        """Return a file's bytes."""
        return self._blobs[number]


def unpack_names(packed):
    """Return the paths of a list that the daemon has packed (slipstream-wire, names.rs)."""
    paths = []
    for line in packed.split("\n") if packed else []:
        folder, _, names = line.partition(":")
        for name in names.split(","):
            name = name[1:] if name[:1] == "=" else name + ".py"
            path = folder + "/" + name if folder else name
            for code, character in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%25", "%")):
                path = path.replace(code, character)
            paths.append(path)
    return paths


def _compile(content, filename):
    return compile(content, filename, "exec", 0, True)


def _moved(code, filename):
    """Return a code object, and those inside it, under another file's name."""
    if code.co_filename == filename:
        return code
    inner = tuple(_moved(item, filename) if isinstance(item, types.CodeType) else item for item in code.co_consts)
    return code.replace(co_filename=filename, co_consts=inner)


class Finder(object):
    """A meta path entry that finds a closure's modules below ``base``, the path of a zip that is not there."""

    def __init__(self, closures):
        self._closures = closures
        self._codes = {}
        self.compiler = _compile
        self.files = {}
        self.base = ""

    def install(self):
        """Take a place in front of the interpreter's own finders."""
        sys.meta_path.insert(0, self)
        if not PY3:
            sys.path_hooks.insert(0, self.hook)

    def use(self, files, base):
        """Serve ``files`` from now on, as if they were in the zip ``base``."""
        self.files = files
        self.base = base

    def locate(self, name):
        """Return (path inside the closure, is a package), or None."""
        if name.partition(".")[0] not in PREFIXES:
            return None
        path = name.replace(".", "/")
        for candidate, package in ((path + "/__init__.py", True), (path + ".py", False)):
            if candidate in self.files:
                return candidate, package
        return None

    def is_folder(self, name):
        """Tell whether the closure has a folder, without ``__init__.py``, for that name."""
        if name.partition(".")[0] not in PREFIXES:
            return False
        folder = name.replace(".", "/") + "/"
        return any(path.startswith(folder) for path in self.files)

    def find_spec(self, name, path=None, target=None):
        """Find a module as Python 3 asks for it."""
        found = self.locate(name)
        if found is None:
            if not self.is_folder(name):
                return None
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [self.base + "/" + name.replace(".", "/")]
            return spec
        relative, package = found
        origin = self.base + "/" + relative
        spec = ModuleSpec(name, Loader(self, relative, package), origin=origin, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [origin.rpartition("/")[0]]
        return spec

    def find_module(self, name, path=None):
        """Find a module as Python 2 asks for it."""
        found = self.locate(name)
        return Loader(self, *found) if found else None

    def hook(self, path):
        """Serve the closure's folders as a path hook: Python 2's runpy looks nowhere else."""
        if not (self.base and path.startswith(self.base)):
            raise ImportError(path)
        return self

    def content(self, relative):
        """Return a file's bytes."""
        return self._closures.content(self.files[relative])

    def code(self, relative, filename):
        """Return a file's code, as if it had been compiled under that name."""
        number = self.files[relative]
        known = self._codes.get(number)
        if known is None or not (known.co_filename == filename or CAN_MOVE):
            known = self._codes[number] = self.compiler(self.content(relative), filename)
        return _moved(known, filename)

    def compile(self, files, base=""):
        """Compile what is not yet; false if this interpreter can't, as what is newer than it."""
        done = True
        for relative, number in files.items():
            if number not in self._codes and relative.endswith(".py"):
                try:
                    self._codes[number] = self.compiler(self._closures.content(number), base + "/" + relative)
                except NOT_COMPILED:
                    done = False
        return done


class Loader(object):
    """Loads one file of a closure."""

    # Cleared before a traceback is printed where stock has no zip any more to read lines from.
    sources = True

    def __init__(self, finder, relative, package):
        self._finder = finder
        self._relative = relative
        self._package = package
        self._base = finder.base
        self.number = finder.files[relative]

    def get_filename(self, name):
        """Return what ``__file__`` says."""
        return self._base + "/" + self._relative

    _get_filename = get_filename

    def is_package(self, name):
        """Tell whether it is a package."""
        return self._package

    def get_code(self, name):
        """Return the compiled module."""
        return self._finder.code(self._relative, self.get_filename(name))

    def get_source(self, name):
        """Return the module's text, by its own name only: traceback asks for ``__main__`` too."""
        found = self._finder.locate(name)
        if not Loader.sources or found is None or found[0] != self._relative:
            raise ImportError("no source of %s" % name)
        content = self._finder.content(self._relative)
        return content.decode("utf-8") if PY3 else content

    def get_data(self, path):
        """Return a file's bytes by its path below the zip."""
        relative = path[len(self._base) + 1 :]
        if relative not in self._finder.files:
            raise OSError(0, "Error", path)
        return self._finder.content(relative)

    def create_module(self, spec):
        """Leave making the module to the import system."""
        return None

    def exec_module(self, module):
        """Run the module, for Python 3."""
        exec(self.get_code(module.__name__), module.__dict__)

    def load_module(self, name):
        """Make and run the module, for Python 2."""
        module = sys.modules.setdefault(name, types.ModuleType(name))
        module.__file__ = self.get_filename(name)
        module.__loader__ = self
        if self._package:
            module.__path__ = [module.__file__.rpartition("/")[0]]
            module.__package__ = name
        else:
            module.__package__ = name.rpartition(".")[0]
        try:
            exec(self.get_code(name), module.__dict__)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        return sys.modules[name]


class Preloaded(object):
    """The part of a closure that the agent imports once and every child inherits."""

    def __init__(self, finder):
        self._finder = finder
        self._numbers = None
        # The first numbers are kept free for the imports, which open and keep descriptors under stock, too: libffi
        # opens itself for ctypes.
        self._room = os.pipe() + os.pipe()
        # Those that the imports have opened; they have the numbers that they have under stock.
        self.descriptors = []
        # No module's output has this by chance: the agent puts the job's own path in its place.
        self.base = "/tmp/ansible_slipstream_payload_%032x/ansible_slipstream_payload.zip" % random.getrandbits(128)

    def load(self, files, names):
        """Import ``names`` from ``files``; false if that was done before. A failure leaves nothing behind."""
        if self._numbers is not None:
            return False
        self._numbers = {}
        self._finder.use(files, self.base)
        for fd in self._room:
            os.close(fd)
        before = set(sys.modules)
        stdout, stderr = sys.stdout, sys.stderr
        # An import that prints must not write into the channel.
        sys.stdout = sys.stderr = _Nowhere()
        path = list(sys.path)
        sys.path[:] = [entry for entry in path if entry not in ("", ".")]
        try:
            for name in names:
                __import__(name)
            _load_locale()
            if CAN_MOVE:
                # Every child would: it looks at all of its closure.
                self._finder.compile(files)
        except BaseException:
            for name in set(sys.modules) - before:
                if name.partition(".")[0] in PREFIXES:
                    del sys.modules[name]
        finally:
            sys.stdout, sys.stderr = stdout, stderr
            sys.path[:] = path
        self.descriptors = [fd for fd in self._room if _is_open(fd)]
        for name, module in list(sys.modules.items()):
            loader = getattr(module, "__loader__", None)
            if isinstance(loader, Loader):
                self._numbers[name] = (loader._relative, loader.number)
        if hasattr(gc, "freeze"):
            # The children's collector does not touch, and so does not copy, what they inherit.
            gc.freeze()
        return True

    def fits(self, files):
        """Tell whether every preloaded module is the same in ``files``."""
        return all(files.get(path) == number for path, number in (self._numbers or {}).values())

    @staticmethod
    def forget():
        """Drop what was preloaded, in a child whose closure has other content."""
        for name in list(sys.modules):
            if name.partition(".")[0] in PREFIXES:
                del sys.modules[name]


def _is_open(fd):
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


def _load_locale():
    """Have the C library read the files of the environment's locale, which every module switches to."""
    import locale

    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
        locale.setlocale(locale.LC_ALL, before)
    except locale.Error:
        # There is no such locale: modules have an answer to that.
        pass


class _Nowhere(object):
    encoding = "utf-8"
    errors = "strict"

    def write(self, text):
        return len(text)

    def flush(self):
        pass
