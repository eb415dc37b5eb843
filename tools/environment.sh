# Makes the checkout's own Python environment and installs lvm_jax into it. Sourced, not run:
#   source tools/environment.sh; make_environment EXTRAS
# Takes the interpreter from $PYTHON (default: python3). Does nothing when nothing has changed.

make_environment() {
  local extras=$1 root stamp wanted python=${PYTHON:-python3}
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  stamp="$root/.venv/installed"
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "lvm_jax needs Python 3.11 or newer; '$python' is not. Set PYTHON=/path/to/python3.11" >&2
    return 2
  fi
  # The environment is made again when the pins, the metadata or the interpreter change.
  wanted=$(cat "$root/setup.cfg" "$root/tools/constraints.txt" | cksum)
  wanted="$wanted $("$python" -c 'import sys; print(sys.version_info[:3])') $root"
  touch_extras() { [ -f "$stamp" ] && head -n 1 "$stamp" | grep -qxF "$wanted" \
    && tail -n +2 "$stamp" | grep -qxF "$extras"; }
  if touch_extras; then
    echo "environment: $root/.venv is up to date"
  else
    echo "environment: installing lvm_jax${extras:+[$extras]} into $root/.venv (a few minutes, once)"
    [ -f "$stamp" ] && head -n 1 "$stamp" | grep -qxF "$wanted" || rm -f "$stamp"
    [ -x "$root/.venv/bin/python" ] && [ -f "$stamp" ] || "$python" -m venv --clear "$root/.venv"
    "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      -c "$root/tools/constraints.txt" -e "$root${extras:+[$extras]}" || return 1
    [ -f "$stamp" ] || echo "$wanted" > "$stamp"
    echo "$extras" >> "$stamp"
  fi
  export PATH="$root/.venv/bin:$PATH"
}
