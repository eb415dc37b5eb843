#!/usr/bin/env bash
# The second command on a fresh machine: makes the environment, then lints, checks types, tests.
# Arguments go to pytest: tools/test.sh tests/model -k causal
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/environment.sh
make_environment
export JAX_PLATFORMS=cpu
ruff check .
ruff format --check .
ty check --python "$(command -v python)"  # which may be in another folder than .venv
# Two at a time, a file at a time; -n0 runs them in one process, as a debugger wants it.
python -m pytest --numprocesses=2 --dist=loadfile --durations=25 "$@"
