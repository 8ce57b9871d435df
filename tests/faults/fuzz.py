"""Coverage-guided fuzzing of the plugin, in namespaces of its own (needs root, and `pip install '.[fuzz]'`).

    sudo .venv/bin/python -m tests.faults.fuzz --seconds 600

Inputs that lead to code which none before has reached are kept, and varied further, in `--corpus DIR`. It ends at the
first failure, and prints the input; `--again FILE` tries the one that libFuzzer has written down.
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

# A mount namespace where the machine's own files cannot be written, and namespaces may be made.
PRIVATE = (
    *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("sh", "-c", 'mount --bind / / && mount -o remount,bind,ro / && mount -t tmpfs tmpfs /run && exec "$@"', "sh"),
)


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
    parser.add_argument("--corpus", type=Path, help="where to keep inputs from one run to the next")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try one input, which a run before has written down")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:
        with tempfile.TemporaryDirectory() as temporary:
            where = [] if arguments.corpus else ["--corpus", temporary]
            command = [*PRIVATE, sys.executable, "-m", "tests.faults.fuzz", "--inside", *where, *sys.argv[1:]]
            sys.exit(subprocess.run(command).returncode)
    fuzzer = Fuzzer()
    if arguments.again:
        fuzzer.try_one(arguments.again.read_bytes())
        return
    options = [
        f"-max_total_time={arguments.seconds}",
        "-timeout=60",
        "-rss_limit_mb=2048",
        "-max_len=4096",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(arguments.corpus)], fuzzer.try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
