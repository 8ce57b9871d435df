"""Coverage-guided fuzzing of the plugin, in namespaces of its own (needs root, and `pip install '.[fuzz]'`).

    sudo .venv/bin/python -m tests.faults.fuzz --seconds 600

Inputs that lead to code which none before has reached are varied further; `--keep DIR` keeps them from one run to the
next, in DIR/inputs. It ends at the first failure, prints the input, and with `--keep` writes it to DIR/failures, where
`--again FILE` takes it from.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import atheris

with atheris.instrument_imports(include=["cni_bridge_py"]):
    from tests.faults.fence import Fence, judge_trial

from tests.faults.inputs import Grammar

T = TypeVar("T")

PRIVATE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec")

FENCE = """
mount --bind "$0" "$0"  # alone of this machine's files, this directory can be written
mount -o remount,bind,ro /
mount -t tmpfs tmpfs /run
exec "$@"
"""


class Guided:
    """Makes choices as libFuzzer's bytes have them; with no byte left, always the first."""

    def __init__(self, data: bytes) -> None:
        self._data = atheris.FuzzedDataProvider(data)

    def pick(self, options: Sequence[T]) -> T:
        return options[self.number(0, len(options) - 1)]

    def number(self, lowest: int, highest: int) -> int:
        return int(self._data.ConsumeIntInRange(lowest, highest)) if self._data.remaining_bytes() else lowest

    def text(self) -> str:
        return str(self._data.ConsumeUnicode(20))

    def noise(self) -> bytes:
        return bytes(self._data.ConsumeBytes(40))


class Fuzzer:
    """Tries inputs."""

    def __init__(self) -> None:
        self._fence = Fence()

    def try_one(self, data: bytes) -> None:
        """Have the plugin answer to what the bytes choose; AssertionError where it must not answer so."""
        given = Grammar(Guided(data)).input()
        trial = self._fence.trial(given)
        try:
            judge_trial(given, trial)
        except BaseException:
            print(f"\n{given}\n{trial}", file=sys.stderr, flush=True)
            raise


def main() -> None:
    """Fuzz for some time, in private namespaces, and say how much was tried."""
    parser = argparse.ArgumentParser(description="Fuzz the plugin.")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where to keep inputs and failures")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try one input, a failure of a run before")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        _fuzz(arguments.inside, arguments.seconds, arguments.again)
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = str((arguments.keep or Path(temporary)).resolve())
        for name in ("inputs", "failures"):
            Path(directory, name).mkdir(parents=True, exist_ok=True)
        inside = [sys.executable, "-m", "tests.faults.fuzz", *sys.argv[1:], "--inside", directory]
        sys.exit(subprocess.run([*PRIVATE, FENCE, directory, *inside]).returncode)


def _fuzz(directory: Path, seconds: int, again: Path | None) -> None:
    fuzzer = Fuzzer()
    if again:
        fuzzer.try_one(again.read_bytes())
        return
    options = ["-timeout=60", "-rss_limit_mb=2048", "-max_len=4096", "-len_control=0"]
    options += [f"-max_total_time={seconds}", f"-artifact_prefix={directory}/failures/"]
    atheris.Setup([sys.argv[0], *options, f"{directory}/inputs"], fuzzer.try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
