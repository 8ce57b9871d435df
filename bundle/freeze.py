"""Makes the plugin's executable: launcher.c, and in it all that the plugin imports, frozen as CPython's own start is.

No module has then to be looked for, opened and read (PyImport_FrozenModules of Python's C API).
"""

from __future__ import annotations

import marshal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent

ENCODINGS = ["encodings", "encodings.aliases", "encodings.utf_8"]
"""What every interpreter starts with, and CPython does not freeze itself."""

AT_ONCE = ["cni_bridge_py.__main__", "cni_bridge_py.plugin"]
"""What every call of the plugin imports: with what these import, start.py makes them without asking importlib."""

WHEN_NEEDED = ["cni_bridge_py.ipam_plugin", "json"]
"""What some calls import: `json` only to say what is wrong."""

# Run with nothing but the standard library, this tells which modules come from files, and whether they are packages.
# A module moves to the end of sys.modules when it is complete, so each is behind those that it imports.
TELL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
for name, module in sys.modules.items():
    if getattr(module, "__file__", "") and module.__file__.endswith(".py") and module.__spec__.origin != "frozen":
        print(name, int(hasattr(module, "__path__")), module.__file__)
"""

Module = tuple[str, bool, CodeType]
"""Its name, whether it is a package, and its code."""


def build_launcher(executable: Path, work: Path, contents: str, start: Path = HERE / "start.py") -> None:
    """Compile and link `executable`, which looks for its shared libraries in the folder `contents` beside itself.

    It runs `start`, and what is made on the way goes into the folder `work`.

    Raises subprocess.CalledProcessError when the compiler fails, with what it said on standard error.
    """
    (work / "frozen.h").write_text("".join(_header(start)))
    library = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME"))
    subprocess.run(
        [
            *("cc", "-O2", "-s", "-Wall", "-Werror"),
            *(f"-I{sysconfig.get_path('include')}", f"-I{work}"),
            f'-DEXTENSIONS="{contents}/python{sysconfig.get_python_version()}/lib-dynload"',
            *("-o", executable, HERE / "launcher.c", library),
            # Not RUNPATH, which would not hold for the libraries of the libraries.
            *("-Wl,--disable-new-dtags", f"-Wl,-rpath,$ORIGIN/{contents}"),
            # The library would look for this one where Python was on the machine that built it. Here it is found first.
            *("-Wl,--no-as-needed", "-lm"),
        ],
        check=True,
    )


def _header(start: Path) -> Iterator[str]:
    """The C header with the modules' code, and the table of them (struct _frozen of Python's cpython/import.h)."""
    rows = []
    main = ("__main__", False, _compiled("__main__", start))
    for number, (name, is_package, code) in enumerate([main, _at_once(), *_modules(ENCODINGS), *_modules(WHEN_NEEDED)]):
        yield f"static const unsigned char M{number}[] = {{{','.join(map(str, marshal.dumps(code)))}}};\n"
        rows.append(
            f'{{.name = "{name}", .code = M{number}, .size = sizeof M{number}, .is_package = {int(is_package)}}},\n'
        )
    yield "static const struct _frozen frozen[] = {\n"
    yield from rows
    yield "{0}};\n"


def _at_once() -> Module:
    """The module `at_once`, which has what start.py makes in MODULES.

    That is one constant of its code, read in one go, in which the names that modules share are written once.
    """
    code = compile("MODULES = 'what takes its place'", "at_once.py", "exec")
    modules = tuple(_modules(AT_ONCE))
    return "at_once", False, code.replace(co_consts=tuple(modules if isinstance(c, str) else c for c in code.co_consts))


def _modules(names: list[str]) -> Iterator[Module]:
    """The modules of these names and all that they import from files, each behind those that it imports."""
    argv = [sys.executable, "-I", "-S", "-c", TELL, str(CHECKOUT), *names]
    told = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in told.splitlines():
        name, is_package, source = line.split(maxsplit=2)
        if name not in ENCODINGS or names is ENCODINGS:
            yield name, bool(int(is_package)), _compiled(name, Path(source))


def _compiled(name: str, source: Path) -> CodeType:
    return compile(source.read_bytes(), f"{name}.py", "exec", dont_inherit=True, optimize=2)
