"""Builds the plugin's executable: `python3 -m bundle.build --output FILE`, in the checkout.

The Python that runs this becomes part of the executable, so it needs a static library. README.md beside this file
explains how the executable works.
"""

from __future__ import annotations

import argparse
import itertools
import marshal
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import netaddr

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
PACKAGE = "cni_bridge_py"

FOR_PEOPLE = ["agent", "cli", "installer", "node"]
"""Parts of the package that stay out: they are run by hand or for a long time, by a Python that starts as usual."""

OURS = ("bundle", "bundle.preload", "bundle.rehearsal")
"""The modules of this folder that the interpreter imports when it is started; nothing of them is saved."""

STAND_INS = {
    "ast": "class NodeVisitor: pass\n",
    "hashlib": "from _blake2 import blake2b\n",
    "importlib.resources": "files = None\n",
    "pprint": "",
    "typing": """
class Word:
    def __getitem__(*_): return None
Any = ClassVar = Literal = NoReturn = Word()
_GenericAlias = None
""",
}
"""Replacements for modules of the standard library of which we use little or nothing.

ast, pprint: large; the functions of `inspect` (for dataclasses) and netaddr that need them are never called.
hashlib: Debian's static library lacks most hashes (3.13), and hashlib logs a traceback for each.
typing: 0.4 MB for annotations, which nothing looks at but dataclasses, for ClassVar.
importlib.resources: for netaddr's list of network card makers. It imports `random`, which has a seed, and others.
"""

BOOTSTRAP = {"_frozen_importlib": "_bootstrap", "_frozen_importlib_external": "_bootstrap_external"}
"""The modules of `importlib` that an interpreter cannot import from files, and has frozen under other names."""

FROZEN = ("frozen.o", "deepfreeze.o")
"""Members of the archive with the modules that Python has frozen. snapshot.c has its own instead: these are 0.5 to 0.9
MB, and up to 3.12 their objects lie where the archive has them, those that no call needs among those that each does."""

RENAMED = {
    "malloc": "heap_malloc",
    "calloc": "heap_calloc",
    "realloc": "heap_realloc",
    "free": "heap_free",
    "pthread_self": "snapshot_pthread_self",
}
"""Functions of libc for which Python's library gets those of heap.c and snapshot.c."""

INIT_FUNCTIONS = {
    "builtins": "NULL",
    "sys": "NULL",
    "_warnings": "_PyWarnings_Init",
    "marshal": "PyMarshal_Init",
}
"""Extension modules whose init function does not have the usual name: see Modules/config.c of Python."""

NEEDED = {"_blake2", "_opcode", "_socket", "_struct", "array", "fcntl", "math", "select"}
"""The extension modules that the plugin takes, and that many a Python builds as files beside its library."""

NO_STATIC_LIBRARY = 3
"""The exit status if this Python cannot become an executable."""

PLAN_CHANGED = 3
"""snapshot.c's exit status if the interpreter has to be started once more."""

MOST_STARTS = 50
"""Usually, five to ten are enough: with blocks in other places, the interpreter starts in a slightly different way."""

LINKERS = {"_GLOBAL_OFFSET_TABLE_", "__dso_handle", "__tls_get_addr", "_DYNAMIC", "__ehdr_start"}
"""Symbols that no library has."""

OLDEST_NETADDR = (1, 3)

PYTHONS = ("3.11", "3.12", "3.13")
"""Those that snapshot.c knows the inside of."""

WRITABLE = {".data", ".data.rel", ".data.rel.local", ".bss", ".PyRuntime", ".probes", ".tbss", ".tdata", ".init_array"}
"""Sections of Python's library that are writable. python.lds has those to save; thread-local ones are new in each
process; .probes is SystemTap's; .data.rel.ro is written by nobody but a dynamic loader."""

THREAD_LOCALS = {"_Py_tss_tstate", "pkgcontext", "_mi_heap_default", "recurse"}
"""Thread-local variables of Python's library, which no snapshot has: snapshot.c sets the first, and the others are as
they should be when a process starts (the name of the extension module that is being imported; mimalloc's)."""

# Run by the interpreter that the library belongs to: import modules, and tell about all that came, what it is made of.
DISCOVER = """
import os, sys
sys.path[:], missing, stand_ins, names = eval(sys.argv[1])
os.setns = None  # snapshot.c has it for a Python that has not
for name in missing:
    sys.modules[name] = None
class StandIns:
    def find_spec(name, path, target=None):
        return type(sys.__spec__)(name, StandIns) if name in stand_ins else None
    def create_module(spec):
        pass
    def exec_module(module):
        exec(stand_ins[module.__name__], module.__dict__)
sys.meta_path.insert(0, StandIns)
for name in names:
    __import__(name)
for name, module in sys.modules.items():
    spec = getattr(module, "__spec__", None)
    if name != "__main__" and spec:
        print(name, int(hasattr(module, "__path__")), spec.origin)
"""


class NoStaticLibraryError(Exception):
    """This Python has no static library, or one that lacks what the plugin needs."""


class BrokenBuildError(Exception):
    """The plugin imports what no executable has, or the netaddr here is too old: another Python would not help."""


def main() -> int:
    """Build as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="bundle.build", description=__doc__)
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the executable to make")
    output: Path = parser.parse_args().output.absolute()
    try:
        build(output)
    except NoStaticLibraryError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return NO_STATIC_LIBRARY
    except BrokenBuildError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"bundle: failed with status {error.returncode}: {' '.join(map(str, error.cmd))[:500]}", file=sys.stderr)
        print(error.stderr or "", file=sys.stderr)
        return 1
    return 0


def build(output: Path) -> None:
    """Make the executable `output`. It replaces an existing file atomically.

    Raises NoStaticLibraryError, BrokenBuildError, and subprocess.CalledProcessError if a tool fails.
    """
    check_netaddr()
    symbols = Symbols(static_library())
    check_modules(symbols)
    check_variables(symbols.library)
    with tempfile.TemporaryDirectory(prefix="cni-bridge-py-") as work:
        _say("looking for the modules")
        modules = discover(symbols)
        _say(f"linking Python {sys.version.partition(' ')[0]}")
        linked = link(symbols, modules, Path(work))
        _say("starting the interpreter and writing its memory")
        made = snapshot(linked, modules, Path(work))
        _say("testing the executable")
        try_out(made)
        beside = output.with_name(f".{output.name}.{os.getpid()}")
        shutil.copyfile(made, beside)
        beside.chmod(0o755)
        beside.replace(output)
    _say(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


def check_netaddr() -> None:
    """Check that netaddr is as new as pyproject.toml says. With an older one, IPv6 routes would become IPv4 routes.

    Raises BrokenBuildError.
    """
    if tuple(map(int, netaddr.__version__.split(".")[:2])) < OLDEST_NETADDR:
        oldest = ".".join(map(str, OLDEST_NETADDR))
        raise BrokenBuildError(f"netaddr {netaddr.__version__} is too old: the plugin needs {oldest} or newer")


def static_library() -> Path:
    """The archive of the Python that runs this.

    Raises NoStaticLibraryError.
    """
    if sysconfig.get_python_version() not in PYTHONS:
        msg = f"{sys.executable} is Python {sysconfig.get_python_version()}; supported are {', '.join(PYTHONS)}"
        raise NoStaticLibraryError(msg)
    library = Path(sysconfig.get_config_var("LIBPL"), sysconfig.get_config_var("LIBRARY"))
    headers = Path(sysconfig.get_path("include"), "internal/pycore_runtime.h")
    for file in (library, headers):
        if not file.exists():
            msg = f"{sys.executable} has no {file}: install libpython{sysconfig.get_python_version()}-dev, or the like"
            raise NoStaticLibraryError(msg)
    return library


def plugin_modules() -> list[str]:
    """The names of the package's modules that belong to the plugin."""
    files = (file.relative_to(CHECKOUT) for file in sorted((CHECKOUT / PACKAGE).rglob("*.py")))
    parts = [file.with_suffix("").parts for file in files if not (len(file.parts) > 2 and file.parts[1] in FOR_PEOPLE)]
    return [".".join(each).removesuffix(".__init__") for each in parts]


class Module(NamedTuple):
    """A module that is part of the executable."""

    name: str
    is_package: bool
    code: CodeType | None
    """None if it is an extension module, which the library has."""


def discover(symbols: Symbols) -> list[Module]:
    """The plugin's modules and all that they, and the start of an interpreter, import.

    Raises BrokenBuildError.
    """
    names = [*plugin_modules(), "gc"]
    arguments = ([str(CHECKOUT), *sys.path[1:]], symbols.missing_modules(), STAND_INS, names)
    argv = [sys.executable, "-I", "-S", "-B", "-X", "frozen_modules=off", "-c", DISCOVER, repr(arguments)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise BrokenBuildError(f"the modules cannot be imported with what {symbols.library} has: {reason}")
    modules = [Module(name, False, compile(source, f"{name}.py", "exec")) for name, source in STAND_INS.items()]
    for own in OURS:
        source = HERE / f"{own.partition('.')[2] or '__init__'}.py"
        modules.append(Module(own, own == "bundle", _compiled(f"{own}.py", source)))
    for frozen, part in BOOTSTRAP.items():
        source = Path(sysconfig.get_path("stdlib"), f"importlib/{part}.py")
        # Python leaves what this one does out of tracebacks, by that name.
        modules.append(Module(frozen, False, _compiled(f"<frozen importlib.{part}>", source)))
    for line in done.stdout.splitlines():
        name, is_package, origin = line.split(maxsplit=2)
        if origin.endswith(".py"):
            modules.append(Module(name, is_package == "1", _compiled(f"{name}.py", Path(origin))))
        elif origin == "built-in" or origin.endswith(".so"):
            modules.append(Module(name, False, None))
    return modules


def _compiled(filename: str, source: Path) -> CodeType:
    # The file's path on this machine must not be in the executable.
    return compile(source.read_bytes(), filename, "exec", dont_inherit=True, optimize=2)


class Symbols:
    """The symbols that the archive of Python's library defines, and those that it needs."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self._wanted: dict[str, set[str]] = {}
        """By the name of an extension module: the symbols that its object file needs."""
        self._defined = set(LINKERS)
        for archive in (library, *_libc()):
            for member in _run("nm", "--format=posix", archive).split("]:\n"):
                self._read(dict(line.split()[:2] for line in member.splitlines() if line.count(" ") >= 2))

    def _read(self, member: dict[str, str]) -> None:
        """Take in the symbols of an object file, each with its kind as nm(1) has it."""
        wanted = {name for name, kind in member.items() if kind == "U"}
        self._defined |= {name for name, kind in member.items() if kind in "ABCDGRSTVWi"}
        self._wanted |= {name.removeprefix("PyInit_"): wanted for name in member if name.startswith("PyInit_")}

    def missing_modules(self) -> list[str]:
        """The extension modules of this Python that the archive lacks, or has without everything that they need."""
        names = {file.name.partition(".")[0] for file in Path(sysconfig.get_config_var("DESTSHARED")).glob("*.so")}
        names |= set(sys.builtin_module_names) - set(INIT_FUNCTIONS)
        return sorted(name for name in names if not self._wanted.get(name, {name}) <= self._defined)


def check_modules(symbols: Symbols) -> None:
    """See that the library has the extension modules that the plugin takes.

    Raises NoStaticLibraryError.
    """
    lacking = NEEDED.intersection(symbols.missing_modules())
    if lacking:
        raise NoStaticLibraryError(f"{symbols.library} lacks the modules {', '.join(sorted(lacking))}")


def check_variables(library: Path) -> None:
    """Check that a snapshot includes everything that the library writes to.

    Raises NoStaticLibraryError.
    """
    # objdump(1) prints two lines for each section: its number and name, its flags.
    lines = [line.strip() for line in _run("objdump", "--section-headers", library).splitlines()]
    sections = {
        line.split()[1]
        for line, flags in itertools.pairwise(lines)
        if line[:1].isdigit() and "ALLOC" in flags and "READONLY" not in flags
    }
    symbols = (line.split() for line in _run("objdump", "--syms", library).splitlines())
    thread_locals = {line[-1] for line in symbols if {".tbss", ".tdata"} & set(line[:-1])} - {".tbss", ".tdata"}
    unknown = {name for name in sections - WRITABLE if not name.startswith(".data.rel.ro")}
    unknown |= thread_locals - THREAD_LOCALS
    if unknown:
        raise NoStaticLibraryError(f"{library} keeps variables in an unknown way: {sorted(unknown)}")


def link(symbols: Symbols, modules: Iterable[Module], work: Path) -> Path:
    """Compile and link the executable that starts an interpreter and writes the other one."""
    library = work / "libpython.a"  # the name that python.lds knows
    renamed = (f"--redefine-sym={name}={ours}" for name, ours in RENAMED.items())
    # Nothing unwinds the C stack, and the tables for that are large.
    _run("objcopy", *renamed, "--remove-section=.eh_frame", symbols.library, library)
    _run("ar", "d", library, *FROZEN)
    (work / "inittab.c").write_text("".join(_inittab(module.name for module in modules if not module.code)))
    include = sysconfig.get_path("include")
    _run(
        *("cc", "-O2", "-Wall", "-Werror=implicit", "-static", "-no-pie", "-s"),
        *(f"-I{include}", f"-I{include}/internal"),
        *("-o", work / "linked", HERE / "snapshot.c", HERE / "heap.c", work / "inittab.c", library, "-lm"),
        *("-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,noexecstack", f"-Wl,-T,{HERE / 'python.lds'}"),
    )
    return work / "linked"


def _inittab(names: Iterable[str]) -> Iterator[str]:
    """C source: the table of extension modules (Modules/config.c of Python), with those that are needed."""
    functions = {name: INIT_FUNCTIONS.get(name, f"PyInit_{name}") for name in names}
    yield "#include <Python.h>\n"
    yield from (f"extern PyObject *{function}(void);\n" for function in functions.values() if function != "NULL")
    yield "struct _inittab _PyImport_Inittab[] = {\n"
    yield from (f'    {{"{name}", {function}}},\n' for name, function in functions.items())
    yield "    {0}\n};\n"


def snapshot(linked: Path, modules: Iterable[Module], work: Path) -> Path:
    """Let the linked executable write the one that continues from its memory."""
    frozen = work / "modules"
    with frozen.open("wb") as file:
        for module in modules:
            if module.code:
                code = marshal.dumps(module.code)
                file.write(f"{module.name} {int(module.is_package)} {len(code)}\n".encode() + code)
    argv: list[str | Path] = [linked, work / "plan", frozen, work / "executable", *plugin_modules()]
    # The environment and the standard streams affect how an interpreter starts.
    for _ in range(MOST_STARTS):
        with tempfile.TemporaryDirectory(dir=work) as stage:
            done = subprocess.run(argv, env={"TZ": "UTC0"}, cwd=stage, input="", capture_output=True, text=True)
        if done.returncode != PLAN_CHANGED:
            break
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
    return work / "executable"


SELF_TEST = (
    ("cni-bridge-py", "VERSION", "", 0, '"supportedVersions"'),
    ("host-local-py", "VERSION", '{"cniVersion": "1.0.0"}', 0, '"cniVersion": "1.0.0"'),
    ("cni-bridge-py", "ADD", "{", 1, '"code": '),
    ("cni-bridge-py", "ADD", '{"cniVersion": "1.0.0", "name": "é", "type": "cni-bridge-py"}', 1, "CNI_CONTAINERID"),
    ("cni-bridge-py", "NOTHING", "{}", 1, "CNI_COMMAND"),
)
"""Name, CNI_COMMAND, standard input; exit status and what standard output has."""


def try_out(executable: Path) -> None:
    """Check that the executable answers, in environments that have nothing in common.

    Raises subprocess.CalledProcessError.
    """
    for environment in ({}, {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHOME": "/nowhere", "PADDING": "x" * 5000}):
        for name, command, given, status, said in SELF_TEST:
            env = environment | {"CNI_COMMAND": command}
            done = subprocess.run([name], executable=executable, env=env, input=given, capture_output=True, text=True)
            if done.returncode != status or said not in done.stdout or done.stderr:
                answer = done.stdout + done.stderr
                raise subprocess.CalledProcessError(done.returncode, [name, command], done.stdout, answer)


def _libc() -> list[Path]:
    """The archives of the C library and of its math library, which the C compiler finds.

    Raises NoStaticLibraryError.
    """
    libc = Path(_run("cc", "-print-file-name=libc.a").strip())
    if not libc.exists():
        raise NoStaticLibraryError("the C library has no libc.a: install libc6-dev, or the like")
    return [libc, *(list(libc.parent.glob("libm-*.a")) or [libc.with_name("libm.a")])]


def _run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _say(stage: str) -> None:
    print(f"bundle: {stage}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
