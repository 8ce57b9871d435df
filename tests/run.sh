#!/usr/bin/env bash
# Runs the tests: sudo tests/run.sh [pytest's arguments]
# Installs first what is missing: Debian packages, and the Python ones in .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/environment.sh
source tests/environment.sh

exec "$venv/bin/python" -m pytest --numprocesses=auto --dist=loadfile "$@"
