# Makes the checkout's own Python environment and installs lvm_jax with its test extra. Sourced:
#   source tools/environment.sh; make_environment
# Takes the interpreter from $PYTHON (default: python3). Does nothing when nothing has changed.

make_environment() {
  local root wanted python=${PYTHON:-python3}
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "lvm_jax needs Python 3.11 or newer; '$python' is not. Set PYTHON=/path/to/python3" >&2
    return 2
  fi
  # Made again when the metadata, the pins, the interpreter or the place changes.
  wanted="$(cat "$root/setup.cfg" "$root/tools/constraints.txt" | cksum) $("$python" -VV) $root"
  if [ "$(cat "$root/.venv/installed" 2>/dev/null)" = "$wanted" ]; then
    echo "environment: $root/.venv is up to date"
  else
    echo "environment: installing into $root/.venv (a few minutes, once)"
    rm -f "$root/.venv/installed"
    "$python" -m venv --clear "$root/.venv" || return 1
    # A plain progress line per package would drown the rest; errors and warnings still show.
    "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      --constraint "$root/tools/constraints.txt" --editable "$root[test]" || return 1
    echo "$wanted" > "$root/.venv/installed"
  fi
  export PATH="$root/.venv/bin:$PATH"
}
