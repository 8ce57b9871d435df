"""The tests of cni-bridge-py; `sudo tests/run.sh` runs them all."""
