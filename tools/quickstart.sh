#!/usr/bin/env bash
# The first command on a fresh machine: from real pictures to answered visual prompts, on CPU.
#
#   bash tools/quickstart.sh [--size=full|smallest] [--workdir=DIR]
#
# Makes the environment, then: pictures -> tokenizer -> shards -> transformer -> prompts on held-out
# pictures -> report.html. Run again, it reuses what is finished and resumes what is not.
#   --size=full      about ten minutes on two cores (the default)
#   --size=smallest  a few steps of everything: shows that the parts fit, learns nothing
#   --workdir=DIR    where everything goes; default runs/quickstart
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

size=full workdir=""
while [ $# -gt 0 ]; do
  case $1 in
    --size=*) size=${1#*=} ;;
    --workdir=*) workdir=${1#*=} ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done
case $size in full | smallest) ;; *)
  echo "quickstart: --size=$size must be full or smallest" >&2; exit 2 ;;
esac
[ "$size" = full ] && default=runs/quickstart || default=runs/quickstart_smallest
workdir=${workdir:-$default}

source tools/environment.sh
make_environment

export JAX_PLATFORMS=cpu
# Compiled programs are kept beside the results, so that a second run starts at once.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$workdir/compiled}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.5
mkdir -p "$workdir"
argument="size=$size,root=$workdir"
started=$SECONDS

stage() { # stage NAME COMMAND...: says what starts, and how long it took
  local name=$1 begun=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@"
  printf '   %s: %d s\n' "$name" $((SECONDS - begun))
}

stage "1/5 pictures" python tools/prepare_pictures.py --out="$workdir/pictures"
stage "2/5 tokenizer" python tools/train_tokenizer.py \
  --config="experiments/quickstart_tokenizer.py:$argument" --workdir="$workdir/tokenizer"
for split in train held_out; do
  [ $split = train ] && out=$workdir/shards || out=$workdir/held_out_shards
  stage "3/5 sentences and shards, $split" python tools/build_shards.py \
    --config="experiments/quickstart_sentences.py:$argument,split=$split" \
    --tokenizer="$workdir/tokenizer/tokenizer" --out="$out"
done
stage "4/5 transformer" python tools/train.py \
  --config="experiments/quickstart_model.py:$argument" --workdir="$workdir/model"
stage "5/5 prompts and report" python tools/evaluate.py --task=analogies \
  --config="experiments/quickstart_evaluation.py:$argument" \
  --model="$workdir/model" --tokenizer="$workdir/tokenizer/tokenizer" --out="$workdir/report"

printf '\nDone in %d s. Open %s\n' $((SECONDS - started)) "$(cd "$workdir/report" && pwd)/report.html"
