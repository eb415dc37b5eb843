#!/usr/bin/env bash
# All that is to be known of a machine with an accelerator, in one go: does it compute what it
# should, how fast does it train, beside transformers, and does the loader keep up.
#
#   bash tools/measure_device.sh OUT [--size=full|smallest]
#
# OUT gets a JSON file for each measurement; those that are there are not made again. Half an hour on
# one H100. --size=smallest is a few seconds of everything, for a machine without accelerator.
# Where torch (with CUDA) and transformers are installed, they run in turn with ours.
#   1. tools/check_device.py       nothing is measured on a machine that fails it
#   2. tools/benchmark.py train    300m, 1b and 3b: bfloat16, rows of 4,096 ids, packed and whole
#   3. tools/train.py              a run on random ids: what it waits for
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out="" size=full
for argument in "$@"; do
  case $argument in
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --size=full | --size=smallest) size=${argument#*=} ;;
    -*) echo "measure_device: unknown argument '$argument'; see --help" >&2; exit 2 ;;
    *) out=$argument ;;
  esac
done
[ -n "$out" ] || { echo "measure_device: name a folder for the results; see --help" >&2; exit 2; }
mkdir -p "$out"
python=${PYTHON:-python}

if [ "$size" = full ]; then
  check=()
  # Model, then rows and remat policies from the fastest to the one that needs least memory.
  models=("300m 16:projections 8:projections 8:full 4:full"
    "1b 8:projections 8:full 4:full 2:full"
    "3b 4:projections 4:full 2:full 1:full")
  flags=(--context=4096 --dtype=bfloat16 --loss_chunks=4 --repeats=10 --warmup=3)
  steps=200 lines=4000 images=15
  run=(--config=experiments/lvm.py:size=300m --config.batch_size=8 --config.accumulation=1)
else
  check=(--only="xla float32 packed" --context=64)
  models=("debug 2:dots")
  flags=(--context=64 --repeats=2)
  steps=8 lines=20 images=3
  run=(--config=experiments/debug.py --config.model.vocabulary.num_codes=8192
    --config.model.vocabulary.num_special=100 --config.model.context=800
    --config.data.context=800 --config.batch_size=1)
fi
rival=()
if "$python" -c 'import transformers, torch, sys; sys.exit(not torch.cuda.is_available())' \
  2>/dev/null; then
  rival=(--against=hf)
fi

measure() {  # NAME COMMAND...: into OUT/NAME.json, unless it is there
  local file=$out/$1.json
  if [ -e "$file" ]; then
    echo "measure_device: $file is there"
  else
    "${@:2}" --json="$file"
  fi
}

measure check "$python" tools/check_device.py "${check[@]}"

for line in "${models[@]}"; do
  read -r model tries <<<"$line"
  for kind in packed whole; do
    against=()
    # The rival's rows are whole.
    if [ "$kind" = whole ]; then against=("${rival[@]}"); fi
    for try in $tries; do
      # What does not fit is tried with less.
      if measure "train_${model}_$kind" "$python" tools/benchmark.py train --preset="$model" \
        --batch="${try%:*}" --remat="${try#*:}" "--$([ "$kind" = packed ] || echo no)packed" \
        "${flags[@]}" "${against[@]}"; then
        break
      fi
    done
  done
done

if [ ! -e "$out/run.json" ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  "$python" - "$scratch/lines.jsonl" "$lines" "$images" <<'PYTHON'
import base64, json, sys
import numpy as np

path, lines, images = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
with open(path, "w") as file:
    for _ in range(lines):
        ids = rng.integers(0, 8192, 256 * rng.integers(1, images + 1), dtype=np.int32)
        file.write(json.dumps({"tokens": base64.b64encode(ids.tobytes()).decode()}) + "\n")
PYTHON
  "$python" tools/build_shards.py --import_jsonl "$scratch/lines.jsonl" --tokens_per_image=256 \
    --out="$scratch/shards"
  "$python" tools/train.py "${run[@]}" --workdir="$scratch/run" --config.eval_data=none \
    --config.data.shards="$scratch/shards" --config.loop.num_steps="$steps" \
    --config.loop.log_every=2 --config.loop.tensorboard=False --config.optimizer.warmup_steps=2 \
    --config.distributed.mode=single
  "$python" - "$scratch/run/metrics.jsonl" "$out/run.json" <<'PYTHON'
import json, statistics, sys

lines = [json.loads(line) for line in open(sys.argv[1])]
timed = [line for line in lines if "perf/sec_per_step" in line][1:]
names = sorted({name for line in timed for name in line if name.startswith(("perf/", "data/wait"))})
medians = {
    name: statistics.median(line[name] for line in timed if name in line) for name in names
}
share = medians["data/wait_sec"] / medians["perf/sec_per_step"]
print(f"a step takes {medians['perf/sec_per_step']:.4f} s; the loader is waited for {share:.2%} of it")
with open(sys.argv[2], "w") as file:
    json.dump({"medians": medians, "wait_share": share, "lines": len(timed)}, file, indent=1)
PYTHON
fi
echo "measure_device: results are in $out"
