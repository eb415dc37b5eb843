#!/usr/bin/env bash
# The second command on a fresh machine: makes the environment, then runs linters and tests.
# Arguments go to pytest: tools/test.sh tests/model -k causal
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/environment.sh
make_environment
export JAX_PLATFORMS=cpu
ruff check .
ruff format --check .
# Two at a time, a file at a time; -n0 runs them in one process, as a debugger wants it.
python -m pytest --numprocesses=2 --dist=loadfile "$@"
