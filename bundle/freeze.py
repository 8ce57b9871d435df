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

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent

ENCODINGS = ["encodings", "encodings.aliases", "encodings.utf_8"]
"""What every interpreter starts with, and CPython does not freeze itself."""

WHEN_NEEDED = ["json"]
"""What the plugin imports only to say what is wrong."""

# Run with nothing but the standard library, this tells which modules come from files, and whether they are packages.
TELL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
for name, module in sorted(sys.modules.items()):
    if getattr(module, "__file__", "") and module.__file__.endswith(".py") and module.__spec__.origin != "frozen":
        print(name, int(hasattr(module, "__path__")), module.__file__)
"""


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
        ],
        check=True,
    )


def _header(start: Path) -> Iterator[str]:
    """The C header with the modules' code, and the table of them (struct _frozen of Python's cpython/import.h)."""
    rows = []
    for number, (name, is_package, source) in enumerate(_modules(start)):
        code = compile(source.read_bytes(), f"{name}.py", "exec", dont_inherit=True, optimize=2)
        yield f"static const unsigned char M{number}[] = {{{','.join(map(str, marshal.dumps(code)))}}};\n"
        rows.append(f'{{.name = "{name}", .code = M{number}, .size = sizeof M{number}, .is_package = {is_package}}},\n')
    yield "static const struct _frozen frozen[] = {\n"
    yield from rows
    yield "{0}};\n"


def _modules(start: Path) -> Iterator[tuple[str, int, Path]]:
    """Every module that the plugin may import: name, whether it is a package, and source."""
    yield "__main__", 0, start
    ours = (path.relative_to(CHECKOUT) for path in CHECKOUT.glob("cni_bridge_py/**/*.py"))
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in ours if "cli" not in path.parts]
    argv = [sys.executable, "-I", "-S", "-c", TELL, str(CHECKOUT), *sorted(names), *ENCODINGS, *WHEN_NEEDED]
    told = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in told.splitlines():
        name, is_package, source = line.split(maxsplit=2)
        yield name, int(is_package), Path(source)
