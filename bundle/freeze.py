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

CODECS = ["encodings", "encodings.aliases", "encodings.utf_8"]
"""What Python imports with its first codec, if only to say what is wrong with a text, and does not freeze itself."""

AT_ONCE = ["cni_bridge_py.__main__", "cni_bridge_py.plugin"]
"""What every call of the plugin imports: with what these import, start.py makes them without asking importlib."""

WHEN_NEEDED = ["cni_bridge_py.ipam_plugin", "json"]
"""What some calls import: `json` only to say what is wrong."""

# Run with nothing but the standard library, this tells which modules come from files, and whether they are packages. It
# leaves out those that every interpreter starts with, unless they are asked for.
# A module moves to the end of sys.modules when it is complete, so each is behind those that it imports.
TELL = """
import sys
bare = set(sys.modules)
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    __import__(name)
for name, module in sys.modules.items():
    asked = name not in bare or name in sys.argv
    if asked and getattr(module, "__file__", "") and module.__spec__.origin != "frozen":
        print(name, int(hasattr(module, "__path__")), module.__file__)
"""

Module = tuple[str, bool, CodeType]
"""Its name, whether it is a package, and its code."""


def build_launcher(executable: Path, work: Path, contents: str, start: Path = HERE / "start.py") -> None:
    """Compile and link `executable`, which looks for its shared libraries in the folder `contents` beside itself.

    It runs `start`, and what is made on the way goes into the folder `work`.

    Raises subprocess.CalledProcessError when the compiler fails, with what it said on standard error.
    """
    extensions = _extensions()
    (work / "frozen.h").write_text("".join(_header(start, list(extensions))))
    library = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME"))
    places = f"$ORIGIN/{contents}:$ORIGIN/{contents}/python{sysconfig.get_python_version()}/lib-dynload"
    subprocess.run(
        [
            *("cc", "-O2", "-s", "-Wall", "-Werror"),
            *(f"-I{sysconfig.get_path('include')}", f"-I{work}"),
            *("-o", executable, HERE / "launcher.c", library),
            # By their names alone, else they would be looked for where they are now.
            *(f"-L{sysconfig.get_config_var('DESTSHARED')}", *(f"-l:{file.name}" for file in extensions.values())),
            # Not RUNPATH, which would not hold for the libraries of the libraries.
            *("-Wl,--disable-new-dtags", f"-Wl,-rpath,{places}"),
            # The library would look for this one where Python was on the machine that built it. Here it is found first.
            *("-Wl,--no-as-needed", "-lm"),
        ],
        check=True,
    )


def _header(start: Path, extensions: list[str]) -> Iterator[str]:
    """The C header with the modules' code, and the tables of them (_frozen and _inittab of Python's import.h)."""
    at_once = list(modules_of(AT_ONCE))
    later = [each for each in modules_of(CODECS + WHEN_NEEDED) if each not in at_once]
    rows = []
    for number, (name, is_package, code) in enumerate([_main(start, tuple(at_once)), *later]):
        yield f"static const unsigned char M{number}[] = {{{','.join(map(str, marshal.dumps(code)))}}};\n"
        rows.append(
            f'{{.name = "{name}", .code = M{number}, .size = sizeof M{number}, .is_package = {int(is_package)}}},\n'
        )
    yield "static const struct _frozen frozen[] = {\n"
    yield from rows
    yield "{0}};\n"
    yield from (f"PyMODINIT_FUNC PyInit_{name}(void);\n" for name in extensions)
    yield "static struct _inittab extensions[] = {\n"
    yield from (f'{{"{name}", PyInit_{name}}},\n' for name in extensions)
    yield "{0}};\n"


def _main(start: Path, at_once: tuple[Module, ...]) -> Module:
    """The module `__main__`: `start`, and where it has an empty tuple the modules `at_once`.

    These are one constant of its code, read in one go, in which the names that modules share are written once.
    """
    code = _compiled("__main__", start)
    return "__main__", False, code.replace(co_consts=tuple(at_once if c == () else c for c in code.co_consts))


def modules_of(names: list[str]) -> Iterator[Module]:
    """Yield the modules of these names and all that they import from files, each behind those that it imports."""
    for name, is_package, file in _files(names):
        if file.suffix == ".py":
            yield name, is_package, _compiled(name, file)


def _extensions() -> dict[str, Path]:
    """The extension modules in any call, by name: those of Python's own that are not built into its library."""
    return {name: file for name, _, file in _files(AT_ONCE + WHEN_NEEDED) if file.suffix == ".so"}


def _files(names: list[str]) -> Iterator[tuple[str, bool, Path]]:
    argv = [sys.executable, "-I", "-S", "-c", TELL, str(CHECKOUT), *names]
    told = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in told.splitlines():
        name, is_package, file = line.split(maxsplit=2)
        yield name, bool(int(is_package)), Path(file)


def _compiled(name: str, source: Path) -> CodeType:
    return compile(source.read_bytes(), f"{name}.py", "exec", dont_inherit=True, optimize=2)
