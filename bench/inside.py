"""What runs in the node: one section. Setup on standard input, samples on standard output, a line of JSON each."""

from __future__ import annotations

import json
import sys
from importlib import import_module

from bench.driver import CallFailed
from bench.setup import Setup


def main() -> None:
    """Measure the section that the first argument names."""
    setup = Setup.loads(sys.stdin.read())
    try:
        for sample in import_module(f"bench.sections.{sys.argv[1]}").measure(setup):
            print(json.dumps(sample), flush=True)
    except CallFailed as error:
        sys.exit(str(error))


main()
