#!/usr/bin/env bash
# A release of what is committed: builds it, tries it where nothing else is installed, and tags it.
#
#   bash tools/release.sh [--dry_run] [--out=DIR]
#
# Refuses a tree with changes, a version (lvm_jax/version.py) that has no section in CHANGELOG.md, and
# one that has its tag. Then makes the source distribution and of it the wheel, lets twine check both,
# and installs the wheel into an empty environment of python3 and of the newest other Python: import,
# commands, and the way from lines of ids to two steps of a training. The tag vVERSION says what the
# section says. Nothing leaves this machine.
#   --out=DIR   where the two files go; default dist
#   --dry_run   does all of it but the tag, and only says what it would be refused for
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=dist dry_run=""
while [ $# -gt 0 ]; do
  case $1 in
    --out=*) out=${1#*=} ;;
    --dry_run) dry_run=1 ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "release: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done

refuse() {
  echo "release: $1" >&2
  [ -n "$dry_run" ] || exit 2
}

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' lvm_jax/version.py)
section=$(awk -v head="## [$version]" \
  '/^## \[/ { inside = index($0, head) == 1; next } inside' CHANGELOG.md)
[ -z "$(git status --porcelain)" ] || refuse "the tree has changes; commit them or put them away"
[ -n "${section//[[:space:]]/}" ] ||
  refuse "CHANGELOG.md has no section ## [$version]; give [Unreleased] this name and a date"
! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null ||
  refuse "the tag v$version exists; raise __version__ in lvm_jax/version.py"

source tools/environment.sh
constraints=$PWD/tools/constraints.txt
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install() { # install PYTHON FOLDER WHAT...: into an environment of its own
  local python=$1 folder=$2
  shift 2
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

echo "== building $version"
install python3 "$work/build" build twine
mkdir "$work/source"
git archive HEAD | tar -x -C "$work/source"
"$work/build/bin/python" -m build --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 ||
  { cat "$work/build.log" >&2; exit 1; }
"$work/build/bin/python" -m twine check --strict "$work"/dist/*

try() { # try PYTHON: the wheel alone, away from the checkout
  local bin=$work/environment/bin shards=(--config.data.shards=shards)
  echo "== trying it on $("$1" -V)"
  rm -rf "$work/environment" "$work/elsewhere"
  install "$1" "$work/environment" --constraint "$constraints" "$work"/dist/*.whl
  mkdir "$work/elsewhere"
  cd "$work/elsewhere"
  [ "$("$bin/lvm-jax" --version)" = "lvm_jax $version" ]
  "$bin/python" -c 'import lvm_jax; lvm_jax.generate, lvm_jax.load_pretrained'
  "$bin/lvm-jax" >/dev/null
  "$bin/lvm-jax" experiments
  "$bin/python" -m lvm_jax.tools.generate --help >/dev/null
  # Sixteen images of four ids a line, as LVM writes them: base64 of int32.
  "$bin/python" - >lines.jsonl <<'END'
import base64, json
import numpy as np
ids = np.random.default_rng(0).integers(0, 61, (64, 60)).astype(np.int32)
for line in ids:
    print(json.dumps({"tokens": base64.b64encode(line.tobytes()).decode()}))
END
  "$bin/lvm-jax" build_shards --import_jsonl=lines.jsonl --out=shards --tokens_per_image=4 \
    --num_codes=61
  "$bin/python" -m lvm_jax.tools.train --config=experiments/debug.py:steps=2 --workdir=run \
    "${shards[@]}" --config.model.vocabulary.num_codes=61 \
    --config.model.vocabulary.num_special=100 --config.distributed.mode=single
  cd - >/dev/null
}

export JAX_PLATFORMS=cpu
unset PYTHONPATH
try python3
if python=$(newest_other_python); then
  try "$python"
else
  echo "release: no Python 3.12 or 3.13 beside $(python3 -V): tried on that alone" >&2
fi
cp "$work"/dist/* "$out"
ls -l "$out"/lvm_jax-"$version"*

if [ -n "$dry_run" ]; then
  echo "release: a dry run; v$version was not tagged"
else
  git tag --annotate "v$version" --cleanup=verbatim --message "lvm_jax $version

$section"
  echo "release: tagged v$version; git push origin v$version, and twine upload the files, publish it"
fi
