"""Directories that may be on an object store, `gs://BUCKET/...` or `s3://BUCKET/...`.

A path of a user becomes one through `paths.path`: a `pathlib.Path`, or for a store a `StorePath`,
which has those of its methods that runs need. Local paths take the ways they always took.

What may be on a store, and how:

  training workdir   config.json and in_use.json are whole objects, the latter made only where there
                     is none; metrics.jsonl is written anew now and then (`training.metrics_file`);
                     checkpoints are orbax's, whole when their commit_success.txt is there, and
                     checked by sizes and the store's own checksums (`training.checksums`)
  shards to read     the index in a cache of the machine; records from copies of shards that are in
                     it already, others by requests of their own (`data.shards.stored_files`)
  row plans          planned by each machine, kept in its cache
  models             of a training's workdir, or by themselves, written there too: these are models
                     when their config.json is there
  tokenizers         as wholes
  everything else    on a disk, shards that are built too; copy it with the store's own tool

What a store refuses for a while is asked for again (`patience`); then a `StoreError` says in one
line what it answered. Libraries find credentials and endpoints by themselves;
see docs/object_stores.md.
"""
