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
python -m pytest "$@"
