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
from typing import TYPE_CHECKING, Any

from absl import logging

import cli
from experiment_files import ExperimentFile
from lvm_jax import configs, progress_bar
from model_options import TokenizerOptions
from options import Place

if TYPE_CHECKING:
    from lvm_jax.data.building.from_sentences import BuildConfig, Progress
    from lvm_jax.data.shards.reader import Shards
    from lvm_jax.sentences.corpora import CorpusConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build(TokenizerOptions):
    """Pictures -> shards.

    Attributes:
        config: the experiment.
        out: directory for the shards.
        slice: I/N: makes every N-th shard from shard I on; N processes make them all, of pictures
            or of --import_jsonl. By default the processes of a distributed run make a part each,
            and a single process makes everything.
    """

    config: ExperimentFile
    out: str
    slice: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a corpus gives.

    Attributes:
        dry_run: prints sentences, images and tokens of each source, and builds nothing.
        config: the experiment.
        read_all: decodes every picture once and lists those that cannot be read.
        sheet: picture of some sentences to write.
        per_source: sentences of each source shown.
        image_size: side of the images shown.
        tokens_per_image: dry_run, and import_jsonl without --tokenizer: ids of an image.
    """

    dry_run: bool
    config: ExperimentFile
    read_all: bool = False
    sheet: str | None = None
    per_source: int = 2
    image_size: int = 64
    tokens_per_image: int = 256

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "per_source", "image_size", "tokens_per_image")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Import:
    """LVM's JSON lines -> shards.

    Attributes:
        import_jsonl: LVM's JSON lines instead of pictures: --import_jsonl a.jsonl b.jsonl
        out: directory for the shards.
        slice: I/N: makes every N-th shard from shard I on; N processes make them all.
        tokenizer: directory of the tokenizer whose ids they are.
        tokens_per_image: ids of an image; 256 without --tokenizer, which knows.
        num_codes: size of its codebook; 8192 without --tokenizer, which knows.
        max_bad_lines: lines that may be left out and listed in rejects.jsonl.
        num_workers: worker processes.
    """

    import_jsonl: tuple[str, ...]
    out: str
    slice: str | None = None
    tokenizer: Place | None = None
    tokens_per_image: int | None = None
    num_codes: int | None = None
    max_bad_lines: int = 0
    num_workers: int = 1

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "tokens_per_image", "num_workers")
        configs.require_at_least(self, 2, "num_codes")
        configs.require_at_least(self, 0, "max_bad_lines")
        for name in ("tokens_per_image", "num_codes"):
            if self.tokenizer is not None and getattr(self, name) is not None:
                raise ValueError(
                    f"--tokenizer says how many ids and codes there are; drop --{name}"
                )


def import_jsonl(options: Import) -> None:
    """LVM's JSON lines -> shards."""
    from lvm_jax.data.building import from_lines
    from lvm_jax.data.building.slices import Slice

    part = Slice.parse(options.slice) if options.slice is not None else None
    config = from_lines.ImportConfig(
        tokens_per_image=options.tokens_per_image or 256,
        num_codes=options.num_codes or 8192,
        max_bad_lines=options.max_bad_lines,
        num_workers=options.num_workers,
    )
    if options.tokenizer is not None:
        from lvm_jax.tokenizer import codec

        tokenizer = codec.load_tokenizer(options.tokenizer)
        config = dataclasses.replace(
            config,
            tokens_per_image=tokenizer.tokens_per_image,
            num_codes=tokenizer.num_codes,
            tokenizer_fingerprint=tokenizer.fingerprint,
        )
    with (
        progress_bar.Bar(unit="B", unit_scale=True, desc="importing") as bar,
        configs.within("", paths="import_jsonl"),
    ):

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shards = from_lines.import_jsonl(options.import_jsonl, options.out, config, progress, part)
    if shards is not None:
        _log_totals(options.out, shards)


def _load(config: ExperimentFile) -> dict[str, Any]:
    """The values of an experiment that has sentences."""
    values = config.load()
    if "corpus" not in values:
        raise ValueError(f"--config={config.name} has no section corpus; see --help")
    return values


def _pictures(values: dict[str, Any]) -> dict[str, Any]:
    """The sections that say which pictures there are and how they are read."""
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
    from lvm_jax.distributed.distributed_config import DistributedConfig

    run = configs.build(DistributedConfig, values.get("distributed", {}), "config.distributed")
    return {**_pictures(values), "distributed": run}


def dry_run(options: DryRun) -> None:
    """What the corpus holds, and a picture of it."""
    from lvm_jax import images
    from lvm_jax.sentences import preview
    from lvm_jax.sentences.contact_sheet import contact_sheet

    corpus, config = options.config.build(_pictures, _load(options.config)).values()
    counts = preview.count(corpus)
    print(preview.describe(counts, options.tokens_per_image))
    print(f"\n{preview.describe_kinds(counts, options.tokens_per_image)}")
    if options.sheet is not None:
        sheet = contact_sheet(corpus, options.image_size, options.per_source, config.images)
        images.write_image(options.sheet, sheet)
        print(f"wrote {options.sheet}")
    if options.read_all:
        read_all(corpus, config)


def read_all(corpus: "CorpusConfig", config: "BuildConfig") -> None:
    """Lists the pictures that cannot be read; ValueError if they are more than max_rejects."""
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


def build_shards(options: Build) -> None:
    """Pictures -> shards."""
    # Imported after the flags are known to be good, and jax after the corpus is: a typo should not
    # wait for it.
    from lvm_jax import image_record
    from lvm_jax.data.building import from_sentences
    from lvm_jax.data.building.slices import Slice
    from lvm_jax.distributed import supervisor
    from lvm_jax.sentences import corpora

    part = Slice.parse(options.slice) if options.slice is not None else None
    directory = "" if options.config.only_print else options.tokenizer_directory()
    corpus, config, run = options.config.build(_experiment, _load(options.config)).values()
    corpora.sentences(corpus)

    import jax

    from lvm_jax.tokenizer import codec

    supervisor.start_unsupervised(run)
    part = part or Slice(index=jax.process_index(), count=jax.process_count())
    tokenizer = codec.load_tokenizer(directory)
    if tokenizer.images is not None:
        image_record.warn_if_different(config.images, tokenizer.images, directory)
    with (
        _Bar(tokenizer.tokens_per_image) as bar,
        configs.within("config.shards", out="out"),
    ):
        shards = from_sentences.build_shards(corpus, tokenizer, options.out, config, bar.show, part)
    if shards is None:
        return
    about = shards.manifest["about"]
    if about["rejected_images"]:
        logging.warning(
            "%s: %d files cannot be read, so %d sentences are left out; see rejects.jsonl there",
            *(options.out, about["rejected_images"], about["rejected_sentences"]),
        )
    _log_totals(options.out, shards, f" ({about['unique_images']} unique)")


def _log_totals(out: str, shards: "Shards", unique: str = "") -> None:
    num_images = shards.manifest["num_images"]
    logging.info(
        "%s: %d sentences, %d images%s, %d tokens in %d shards",
        *(out, len(shards), num_images, unique),
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

    def show(self, progress: "Progress") -> None:
        """Takes what is done so far."""
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


def keys() -> dict[str, type]:
    from lvm_jax.data.building.from_sentences import BuildConfig
    from lvm_jax.distributed.distributed_config import DistributedConfig
    from lvm_jax.sentences.corpora import CorpusConfig

    return {
        "config.corpus": CorpusConfig,
        "config.shards": BuildConfig,
        "config.distributed": DistributedConfig,
    }


if __name__ == "__main__":
    modes = {
        "building from pictures": build_shards,
        "--dry_run": dry_run,
        "--import_jsonl": import_jsonl,
    }
    cli.run(modes, words="import_jsonl", keys=keys)
