# Makes the checkout's own Python environment and installs lvm_jax with its test extra. Sourced:
#   source tools/environment.sh; make_environment
# Takes the interpreter from $PYTHON (default: python3). Does nothing when nothing has changed, and
# nothing at all with USE_ACTIVE_ENVIRONMENT=1: for containers and others that bring their own.

make_environment() {
  local root place wanted python=${PYTHON:-python3}
  if [ "${USE_ACTIVE_ENVIRONMENT:-}" = 1 ]; then
    echo "environment: the active one, $(command -v python)"
    return
  fi
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "lvm_jax needs Python 3.11 or newer; '$python' is not. Set PYTHON=/path/to/python3" >&2
    return 2
  fi
  place="$("$python" -VV | tr '\n' ' ')$root"
  wanted="$(cat "$root/setup.cfg" "$root/tools/constraints.txt" | cksum) $place"
  if [ "$(cat "$root/.venv/installed" 2>/dev/null)" = "$wanted" ]; then
    echo "environment: $root/.venv is up to date"
  else
    echo "environment: installing into $root/.venv (a few minutes, once)"
    # Made again for another interpreter or place only: extras that a user has added stay.
    if [ "$(cat "$root/.venv/place" 2>/dev/null)" != "$place" ]; then
      rm -rf "$root/.venv"
      "$python" -m venv "$root/.venv" || return 1
      echo "$place" > "$root/.venv/place"
    fi
    rm -f "$root/.venv/installed"
    # A plain progress line per package would drown the rest; errors and warnings still show.
    "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      --constraint "$root/tools/constraints.txt" --editable "$root[test]" || return 1
    echo "$wanted" > "$root/.venv/installed"
  fi
  export PATH="$root/.venv/bin:$PATH"
}
