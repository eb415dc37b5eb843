r"""Turns pictures into shards: sources -> visual sentences -> ids -> ArrayRecord files.

  python tools/build_shards.py --config=experiments/quickstart_sentences.py \
      --tokenizer=runs/quickstart/tokenizer/tokenizer --out=runs/quickstart/shards

The experiment has a section `corpus` (sources, seed, epochs) and may have a section `shards`
(shard_megabytes, max_rejects, batch_size, num_threads, images.resize, images.background, ...).
Interrupted, the same command goes on where it stopped; finished, it says so. A shard that is then
missing or has another size is made again, to the byte, and nothing else is touched: to mend one
that `inspect_shards.py --verify` names, remove its file and give the same command again.

Several processes, also on machines that share a disk, each take a slice and together write the same
bytes as one; the last one finishes the directory:

  python tools/build_shards.py ... --slice=0/2 &
  python tools/build_shards.py ... --slice=1/2

A section `distributed`, as for train.py, makes the processes of a pod take a slice each. A picture
or video that cannot be read ends the build, unless shards.max_rejects allows for some: these are
listed in rejects.jsonl beside the shards, and the sentences that need them are left out.

What a config gives, before anything is tokenized (no tokenizer needed); the sheet shows pictures as
shards.images says:

  python tools/build_shards.py --config=... --dry_run --sheet=sheet.png --image_size=64

That looks at names and at what lists them, and opens files whose names do not tell what they are.
With --read_all it also decodes every picture, and every frame of a video that a sentence shows,
once: files that cannot be read are printed as the lines of rejects.jsonl, then counted by reason.
It ends with exit code 2 if there are more of them than shards.max_rejects.

LVM's own files, lines {"tokens": base64 of int32 ids}, become shards without pictures:

  python tools/build_shards.py --import_jsonl a.jsonl b.jsonl --out=DIR [--tokenizer=DIR]

Each file makes its own shards of about 256 MiB: join many small files before, with `cat`, where
many small shards would be in the way. --num_workers processes read side by side, and --slice=I/N
shares the shards among machines as it does for pictures.
"""

import dataclasses
import json
import time
from typing import Any

import cli
from absl import flags, logging

from lvm_jax import progress_bar

cli.define_config(required=False)
TOKENIZER = flags.DEFINE_string(
    "tokenizer", None, "Directory that train_tokenizer.py or convert_tokenizer.py made."
)
OUT = flags.DEFINE_string("out", None, "Directory for the shards.")
SLICE = flags.DEFINE_string(
    "slice",
    None,
    "I/N: makes every N-th shard from shard I on; N processes make them all, of pictures or of "
    "--import_jsonl. By default the processes of a distributed run make a part each, and a single "
    "process makes everything.",
)
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Prints sentences, images and tokens of each source, and builds nothing."
)
READ_ALL = flags.DEFINE_bool(
    "read_all", False, "dry_run: decodes every picture once and lists those that cannot be read."
)
SHEET = flags.DEFINE_string("sheet", None, "dry_run: picture of some sentences to write.")
PER_SOURCE = flags.DEFINE_integer("per_source", 2, "dry_run: sentences of each source shown.", 1)
IMAGE_SIZE = flags.DEFINE_integer("image_size", 64, "dry_run: side of the images shown.", 1)
IMPORT_JSONL = flags.DEFINE_string(
    "import_jsonl", None, "LVM's JSON lines instead of pictures: --import_jsonl a.jsonl b.jsonl"
)
TOKENS_PER_IMAGE = flags.DEFINE_integer(
    "tokens_per_image", 256, "dry_run; import_jsonl without --tokenizer: ids of an image.", 1
)
NUM_CODES = flags.DEFINE_integer(
    "num_codes", 8192, "import_jsonl without --tokenizer: size of its codebook.", 2
)
MAX_BAD_LINES = flags.DEFINE_integer(
    "max_bad_lines", 0, "import_jsonl: lines that may be left out and listed in rejects.jsonl.", 0
)
NUM_WORKERS = flags.DEFINE_integer("num_workers", 1, "import_jsonl: worker processes.", 1)


def main(*more_files: str) -> None:
    if IMPORT_JSONL.value is not None:
        cli.require("out")
        import_jsonl([IMPORT_JSONL.value, *more_files])
        return
    if more_files:
        raise ValueError(f"unexpected argument {more_files[0]} (--help lists the flags)")
    if DRY_RUN.value:
        names = "dry_run config read_all sheet per_source image_size tokens_per_image"
        cli.refuse_unread("--dry_run", names.split())
        dry_run(cli.load_config())
        return
    cli.refuse_unread("building from pictures", ("config", "tokenizer", "out", "slice"))
    cli.require("config", "tokenizer", "out")
    build_shards(cli.load_config())


def import_jsonl(files: list[str]) -> None:
    """LVM's JSON lines -> shards."""
    # A tokenizer says by itself how many ids and codes there are.
    by_hand = ("tokens_per_image", "num_codes") if TOKENIZER.value is None else ("tokenizer",)
    names = ("import_jsonl", "out", "slice", "max_bad_lines", "num_workers", *by_hand)
    cli.refuse_unread("--import_jsonl", names)
    from lvm_jax.data.building import from_lines
    from lvm_jax.data.building.slices import Slice

    part = Slice.parse(SLICE.value) if SLICE.value is not None else None
    config = from_lines.ImportConfig(
        tokens_per_image=TOKENS_PER_IMAGE.value,
        num_codes=NUM_CODES.value,
        max_bad_lines=MAX_BAD_LINES.value,
        num_workers=NUM_WORKERS.value,
    )
    if TOKENIZER.value is not None:
        from lvm_jax.tokenizer import codec

        tokenizer = codec.load_tokenizer(TOKENIZER.value)
        config = dataclasses.replace(
            config,
            tokens_per_image=tokenizer.tokens_per_image,
            num_codes=tokenizer.num_codes,
            tokenizer_fingerprint=tokenizer.fingerprint,
        )
    with progress_bar.Bar(unit="B", unit_scale=True, desc="importing") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shards = from_lines.import_jsonl(files, OUT.value, config, progress, part)
    if shards is not None:
        _log_totals(shards)


def _pictures(values: dict[str, Any]) -> dict[str, Any]:
    """The sections that say which pictures there are and how they are read."""
    if "corpus" not in values:
        raise ValueError(f"--config={flags.FLAGS.config} has no section corpus; see --help")
    from lvm_jax import configs
    from lvm_jax.data.building import from_sentences
    from lvm_jax.sentences import corpora

    return {
        "corpus": corpora.build_corpus(values["corpus"], "config.corpus"),
        "shards": configs.build(
            from_sentences.BuildConfig, values.get("shards", {}), "config.shards"
        ),
    }


def _experiment(values: dict[str, Any]) -> dict[str, Any]:
    """All sections."""
    from lvm_jax import configs
    from lvm_jax.distributed.distributed_config import DistributedConfig

    run = configs.build(DistributedConfig, values.get("distributed", {}), "config.distributed")
    return {**_pictures(values), "distributed": run}


def dry_run(values: dict[str, Any]) -> None:
    """What the corpus holds, and a picture of it."""
    from lvm_jax import images
    from lvm_jax.sentences import preview
    from lvm_jax.sentences.contact_sheet import contact_sheet

    corpus, config = cli.build_config(_pictures, values).values()
    counts = preview.count(corpus)
    print(preview.describe(counts, TOKENS_PER_IMAGE.value))
    print(f"\n{preview.describe_kinds(counts, TOKENS_PER_IMAGE.value)}")
    if SHEET.value is not None:
        sheet = contact_sheet(corpus, IMAGE_SIZE.value, PER_SOURCE.value, config.images)
        images.write_image(SHEET.value, sheet)
        print(f"wrote {SHEET.value}")
    if READ_ALL.value:
        read_all(corpus, config)


def read_all(corpus, config) -> None:
    """Lists the pictures that cannot be read; ValueError if they are more than max_rejects."""
    from lvm_jax import configs
    from lvm_jax.data.building import read_all as reading
    from lvm_jax.data.building import rejects

    with progress_bar.Bar(unit=" files", desc="reading") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        lines = reading.read_all(corpus, config, progress)
    print()
    for line in lines:
        print(json.dumps(line))
    for reason, count in rejects.by_reason(lines):
        print(f"{count:8,}  {reason}")
    print(
        f"{len(lines):8,} files cannot be read; {rejects.count_sentences(lines):,} sentences need "
        "them"
    )
    with configs.within("config.shards"):
        rejects.require_few(lines, config.max_rejects)


def build_shards(values: dict[str, Any]) -> None:
    """Pictures -> shards."""
    # Imported after the flags are known to be good, and jax after the corpus is: a typo should not
    # wait for it.
    from lvm_jax import configs, image_record
    from lvm_jax.data.building import from_sentences
    from lvm_jax.data.building.slices import Slice
    from lvm_jax.distributed import supervisor
    from lvm_jax.sentences import corpora

    part = Slice.parse(SLICE.value) if SLICE.value is not None else None
    corpus, config, run = cli.build_config(_experiment, values).values()
    corpora.sentences(corpus)

    import jax

    from lvm_jax.tokenizer import codec

    supervisor.start_unsupervised(run)
    part = part or Slice(index=jax.process_index(), count=jax.process_count())
    tokenizer = codec.load_tokenizer(TOKENIZER.value)
    if tokenizer.images is not None:
        image_record.warn_if_different(config.images, tokenizer.images, TOKENIZER.value)
    with (
        _Bar(tokenizer.tokens_per_image) as bar,
        configs.within("config.shards", out="out"),
    ):
        shards = from_sentences.build_shards(corpus, tokenizer, OUT.value, config, bar.show, part)
    if shards is None:
        return
    about = shards.manifest["about"]
    if about["rejected_images"]:
        logging.warning(
            "%s: %d files cannot be read, so %d sentences are left out; see rejects.jsonl there",
            *(OUT.value, about["rejected_images"], about["rejected_sentences"]),
        )
    _log_totals(shards, f" ({about['unique_images']} unique)")


def _log_totals(shards, unique: str = "") -> None:
    num_images = shards.manifest["num_images"]
    logging.info(
        "%s: %d sentences, %d images%s, %d tokens in %d shards",
        *(OUT.value, len(shards), num_images, unique),
        *(num_images * shards.tokens_per_image, len(shards.manifest["shards"])),
    )


class _Bar:
    """Sentences done, time left, and what the tokenizer does in a second."""

    def __init__(self, tokens_per_image: int):
        self._tokens_per_image = tokens_per_image
        self._bar: progress_bar.Bar | None = None
        self._begun = time.monotonic()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, progress) -> None:
        """Takes a `build.Progress`."""
        if progress.before == progress.total:
            return  # nothing to do, as the log says
        if self._bar is None:
            # What an earlier run did says nothing about the time left.
            self._bar = progress_bar.Bar(
                unit=" sentences",
                desc="shards",
                initial=progress.before,
                total=progress.total,
            )
        rate = progress.num_tokenized / max(time.monotonic() - self._begun, 1e-3)
        ids = f"{rate * self._tokens_per_image:.0f} ids/s"
        self._bar.set_postfix_str(f"{rate:.1f} images/s, {ids}", refresh=False)
        self._bar.update(progress.done - self._bar.n)


if __name__ == "__main__":
    cli.run(main, ["..."])
