#!/usr/bin/env bash
# A training as an XPK workload on a GKE cluster with TPU slices.
#
#   bash tools/launch/xpk.sh NAME --cluster=CLUSTER --type=v5litepod-256 --image=IMAGE [--slices=2] -- \
#       --config=experiments/lvm.py:size=3b --workdir=gs://BUCKET/runs/3b --config.data.shards=...
#
# IMAGE is what tools/launch/Dockerfile makes. A workload that is preempted starts again and goes on
# from its newest checkpoint, up to --restarts times.
#   --zone=ZONE --project=ID   of the cluster; default: gcloud's own
#   --restarts=N               default 1000
#   --dry_run                  prints the xpk command instead of running it
set -euo pipefail
refuse() { echo "xpk: $1" >&2; exit 2; }

case ${1:-} in -h | --help | "") sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
name=$1
[[ $name =~ ^[a-z][-a-z0-9]*$ ]] || refuse "'$name' must be a name of a-z, 0-9 and -; see --help"
shift
cluster="" type="" image="" slices=1 zone="" project="" restarts=1000 dry_run=""
while [ $# -gt 0 ]; do
  case $1 in
    --cluster=* | --type=* | --image=* | --slices=* | --zone=* | --project=* | --restarts=*)
      flag=${1%%=*}
      printf -v "${flag#--}" %s "${1#*=}" ;;
    --dry_run) dry_run=1 ;;
    --) shift; break ;;
    *) refuse "unknown argument '$1'; flags of train.py go behind --; see --help" ;;
  esac
  shift
done
for flag in cluster type image; do
  [ -n "${!flag}" ] || refuse "--$flag=... is missing; see --help"
done
[ $# -gt 0 ] || refuse "flags of train.py are missing; they go behind --"
printf -v command '%q ' python tools/train.py "$@" --config.distributed.mode=auto
call=(xpk workload create --workload="$name" --cluster="$cluster" --tpu-type="$type"
  --num-slices="$slices" --docker-image="$image" --max-restarts="$restarts"
  ${zone:+--zone="$zone"} ${project:+--project="$project"} --command="$command")
if [ -n "$dry_run" ]; then printf '%q ' "${call[@]}"; echo; else exec "${call[@]}"; fi
