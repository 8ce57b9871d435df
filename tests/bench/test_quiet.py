"""Whether the machine is idle."""

from __future__ import annotations

import subprocess

from bench.quiet import wait_until_idle


def test_a_machine_that_computes_is_not_idle() -> None:
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as busy:
        try:
            assert not wait_until_idle(1)
        finally:
            busy.kill()
