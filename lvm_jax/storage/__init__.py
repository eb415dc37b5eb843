"""Directories that may be on an object store, `gs://BUCKET/...` or `s3://BUCKET/...`.

A path of a user becomes one through `paths.path`: a `pathlib.Path`, or for a store a `StorePath`,
which has those of its methods that runs need. Local paths take the ways they always took.

What may be on a store, and how:

  training workdir   config.json and in_use.json are whole objects, the latter made only where there
                     is none; metrics.jsonl is written anew now and then (`training.metrics_file`);
                     checkpoints are orbax's, whole when their commit_success.txt is there, and
                     checked by sizes and the store's own checksums (`training.checksums`)
  models             of a training's workdir
  everything else    local; copy it with the store's own tool

What a store refuses for a while is asked for again (`patience`); then a `StoreError` says in one
line what it answered. Libraries find credentials and endpoints by themselves, see the README.
"""
