# Makes the checkout's own Python environment and installs lvm_jax with its test extra. Sourced:
#   source tools/environment.sh; make_environment
# Takes the interpreter from $PYTHON (default: python3), the folder from $VENV (default: .venv), the
# extras from $EXTRAS (default: test) and the versions from $CONSTRAINTS (default: constraints.txt
# beside this); a checkout may have one for each interpreter. Does nothing when nothing has changed,
# and nothing at all with USE_ACTIVE_ENVIRONMENT=1: for containers and others that bring their own.

make_environment() {
  local root folder place wanted constraints python=${PYTHON:-python3} extras=${EXTRAS:-test}
  if [ "${USE_ACTIVE_ENVIRONMENT:-}" = 1 ]; then
    echo "environment: the active one, $(command -v python)"
    return
  fi
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  folder=$root/${VENV:-.venv}
  constraints=${CONSTRAINTS:-$root/tools/constraints.txt}
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "lvm_jax needs Python 3.11 or newer; '$python' is not. Set PYTHON=/path/to/python3" >&2
    return 2
  fi
  place="$("$python" -VV | tr '\n' ' ')$root"
  wanted="$(cat "$root/setup.cfg" "$root/setup.py" "$constraints" | cksum) $extras $place"
  if [ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ]; then
    echo "environment: $folder is up to date"
  else
    echo "environment: installing into $folder (a few minutes, once)"
    # Made again for another interpreter or place only: extras that a user has added stay.
    if [ "$(cat "$folder/place" 2>/dev/null)" != "$place" ]; then
      rm -rf "$folder"
      "$python" -m venv "$folder" || return 1
      echo "$place" > "$folder/place"
    fi
    rm -f "$folder/installed"
    # A plain progress line per package would drown the rest; errors and warnings still show.
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
      --constraint "$constraints" --editable "$root[$extras]" || return 1
    echo "$wanted" > "$folder/installed"
  fi
  export PATH="$folder/bin:$PATH"
}

# Prints the newest Python 3.12 or 3.13 that is not python3 itself; fails where there is none.
newest_other_python() {
  local usual minor python
  usual=$(python3 -c 'import sys; print(sys.version_info.minor)')
  for minor in 13 12; do
    for python in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python3; do
      # It may be a name without the program behind it, or without what makes environments.
      if [ "$minor" != "$usual" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$python"
        return
      fi
    done
  done
  return 1
}
