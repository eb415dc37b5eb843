#!/usr/bin/env bash
# A training on Cloud TPU virtual machines: one slice, or several that share the run.
#
#   bash tools/launch/tpu_pod.sh create  NAME --zone=ZONE --type=v5litepod-256 [--slices=2] [--spot]
#   bash tools/launch/tpu_pod.sh install NAME --zone=ZONE [--slices=2] [--source=GIT_URL] [--ref=main]
#   bash tools/launch/tpu_pod.sh train   NAME --zone=ZONE [--slices=2] -- \
#       --config=experiments/lvm.py:size=3b --workdir=gs://BUCKET/runs/3b --config.data.shards=...
#   bash tools/launch/tpu_pod.sh logs    NAME --zone=ZONE      # of worker 0, as they come
#   bash tools/launch/tpu_pod.sh stop    NAME --zone=ZONE      # SIGTERM: all save the same step
#   bash tools/launch/tpu_pod.sh keep    NAME --zone=ZONE --type=TYPE [--spot] -- FLAGS OF train.py
#   bash tools/launch/tpu_pod.sh delete  NAME --zone=ZONE
#
# `train` starts tools/train.py on all workers and returns; the workers find each other. The same
# command goes on with a run that was stopped. `keep` stays, and does create, install and train
# again whenever the slice is taken away, until the training has ended by itself.
#   --project=ID      of Google Cloud; default: gcloud's own
#   --runtime=NAME    software of the machines; default by --type
#   --source=GIT_URL  where the workers clone lvm_jax from; default: this checkout's "origin"
#   --every=SECONDS   between two looks of `keep`; default 60
#   --dry_run         prints the gcloud commands instead of running them
set -euo pipefail

usage() { sed -n '2,20s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
refuse() { echo "tpu_pod: $1" >&2; exit 2; }

case ${1:-} in -h | --help | "") usage; exit 0 ;; esac
action=$1 name=${2:-}
[[ $name =~ ^[a-z][-a-z0-9]*$ ]] || refuse "'$name' must be a name of a-z, 0-9 and -; see --help"
shift 2
zone="" project="" type="" runtime="" source="" ref=main slices=1 every=60 spot="" dry_run=""
while [ $# -gt 0 ]; do
  case $1 in
    --zone=* | --project=* | --type=* | --runtime=* | --source=* | --ref=* | --slices=* | --every=*)
      flag=${1%%=*}
      printf -v "${flag#--}" %s "${1#*=}" ;;
    --spot | --dry_run) printf -v "${1#--}" 1 ;;
    --) shift; break ;;
    *) refuse "unknown argument '$1'; flags of train.py go behind --; see --help" ;;
  esac
  shift
done
train_flags=("$@")
[ -n "$zone" ] || refuse "--zone=ZONE is missing"
[[ $slices =~ ^[1-9][0-9]*$ ]] || refuse "--slices=$slices must be a positive number"

where=(--zone="$zone")
[ -z "$project" ] || where+=(--project="$project")

call() {
  if [ -n "$dry_run" ]; then printf '%q ' gcloud "$@"; echo; else gcloud "$@"; fi
}

# One machine group of Cloud TPU is a node: a slice.
nodes() {
  if [ "$slices" = 1 ]; then echo "$name"; else seq -f "$name-%g" 0 $((slices - 1)); fi
}

on_workers() {  # WHICH COMMAND: on the workers of every slice at once; fails when one fails
  local node job jobs=()
  for node in $(nodes); do
    call compute tpus tpu-vm ssh "$node" "${where[@]}" --worker="$1" --command="$2" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job"; done
}

create() {
  [ -n "$type" ] || refuse "--type=TYPE is missing, such as --type=v5litepod-256"
  if [ -z "$runtime" ]; then
    case $type in
      v2-* | v3-*) runtime=tpu-ubuntu2204-base ;;
      v4-*) runtime=tpu-ubuntu2204-base ;;
      v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
      v5p-*) runtime=v2-alpha-tpuv5 ;;
      v6e-*) runtime=v2-alpha-tpuv6e ;;
      *) refuse "--runtime=NAME is missing: none is known for --type=$type" ;;
    esac
  fi
  local which=(--node-id="$name")
  [ "$slices" = 1 ] || which=(--node-count="$slices" --node-prefix="$name")
  call compute tpus queued-resources create "$name" "${where[@]}" "${which[@]}" \
    --accelerator-type="$type" --runtime-version="$runtime" ${spot:+--spot}
}

state() {
  call compute tpus queued-resources describe "$name" "${where[@]}" --format='value(state.state)'
}

install() {
  source=${source:-$(git -C "$(dirname "${BASH_SOURCE[0]}")" remote get-url origin 2>/dev/null)} ||
    refuse "--source=GIT_URL is missing, and this checkout has no remote 'origin'"
  on_workers all "set -e
[ -d lvm_jax ] || git clone -q $(printf %q "$source") lvm_jax
cd lvm_jax
git fetch -q origin && git checkout -q $(printf %q "$ref")
python3 -m venv .venv
.venv/bin/pip install -q -e '.[tpu,gcs]' -c tools/constraints.txt"
}

train() {
  [ ${#train_flags[@]} -gt 0 ] || refuse "flags of train.py are missing; they go behind --"
  local flags
  printf -v flags '%q ' "${train_flags[@]}" --config.distributed.mode=auto
  # Detached: the run outlives the connection. Its exit code tells `keep` whether it has ended.
  on_workers all "cd lvm_jax && rm -f ../train.exit && pgrep -f '[t]ools/train.py' >/dev/null || \
setsid nohup bash -c '.venv/bin/python tools/train.py \"\$@\"; echo \$? >../train.exit' - $flags \
>../train.log 2>&1 </dev/null &"
}

keep() {
  local now code
  while true; do
    now=$(state 2>/dev/null || echo NONE)
    case $now in
      ACTIVE)
        code=$(call compute tpus tpu-vm ssh "$(nodes | head -n1)" "${where[@]}" --worker=0 \
          --command='cat train.exit 2>/dev/null || { pgrep -f "[t]ools/train.py" >/dev/null && echo on; } || echo none' \
          2>/dev/null || echo unreachable)
        case $code in
          0) echo "tpu_pod: the training has ended"; return 0 ;;
          on | unreachable) ;;
          none) install; train ;;
          # It was told to stop, as a machine is before it is taken away.
          143) train ;;
          *) echo "tpu_pod: the training failed with exit code $code; see: tpu_pod.sh logs" >&2
            return 1 ;;
        esac ;;
      SUSPENDED | SUSPENDING | FAILED)
        echo "tpu_pod: $name is $now; making it again"
        delete
        create ;;
      NONE) create ;;
    esac
    [ -n "$dry_run" ] && return
    sleep "$every"
  done
}

delete() {
  call compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
}

case $action in
  create | install | train | keep | delete) "$action" ;;
  logs)
    call compute tpus tpu-vm ssh "$(nodes | head -n1)" "${where[@]}" --worker=0 \
      --command='tail -n 100 -F train.log' ;;
  stop) on_workers all "pkill -TERM -o -f '[t]ools/train.py' || true" ;;
  *) refuse "unknown action '$action'; use create, install, train, logs, stop, keep or delete" ;;
esac
