r"""Shows what is in a directory of shards.

  python tools/inspect_shards.py runs/quickstart/shards
  python tools/inspect_shards.py runs/quickstart/shards --verify
  python tools/inspect_shards.py runs/quickstart/shards --decode=4 \
      --tokenizer=runs/quickstart/tokenizer/tokenizer --out=sentences.png
  python tools/inspect_shards.py DIR --export_jsonl=sentences.jsonl

Prints sentences and images by source and kind, a histogram of images per sentence, how many codes
are in use and the perplexity of the unigram distribution of codes. Bad files are named: remove such
a shard and give the command that built the directory again, which makes it anew and nothing else.
--decode draws sentences with their source, kind and key under them; --export_jsonl writes LVM's own
lines, {"tokens": base64 of int32}, which build_shards.py --import_jsonl reads back.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import numpy as np

import cli
from lvm_jax import configs, progress_bar
from options import Place

if TYPE_CHECKING:
    from lvm_jax.data.shards.reader import Shards
    from lvm_jax.tokenizer.codec import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which shards, and what beside the summary.

    Attributes:
        directory: of the shards.
        verify: read every file and compare its checksum.
        sample: sentences whose codes are counted, spread evenly; 0 counts all.
        decode: draw this many sentences of each source.
        tokenizer: tokenizer directory, for --decode.
        out: the picture that --decode writes.
        export_jsonl: file to write all sentences to, as LVM's.
    """

    directory: Place
    verify: bool = False
    sample: int = 20_000
    decode: int = 0
    tokenizer: Place | None = None
    out: str = "sentences.png"
    export_jsonl: str | None = None

    def __post_init__(self) -> None:
        configs.require_at_least(self, 0, "sample", "decode")


BAR = 40
# Keys of groups name all of their pictures; the list that is printed has them whole.
MOST_LETTERS = 100


def main(options: Options) -> None:
    if options.decode and not options.tokenizer:
        raise ValueError("--decode needs --tokenizer=DIR, the tokenizer of the shards")
    from lvm_jax.data.shards.reader import Shards

    shards = Shards(options.directory)
    tokenizer = load_tokenizer(options, shards)
    print_summary(shards)
    print_lengths(shards)
    print_codes(options, shards)
    if options.verify:
        verify(shards)
    if options.export_jsonl is not None:
        export(options.export_jsonl, shards)
    if tokenizer is not None:
        draw(options, shards, tokenizer)


def load_tokenizer(options: Options, shards: "Shards") -> "Tokenizer | None":
    """The tokenizer for --decode; ValueError if it is not that of the shards."""
    if options.tokenizer is None or not options.decode:
        return None
    from lvm_jax.tokenizer import codec

    tokenizer = codec.load_tokenizer(options.tokenizer)
    shards.require_tokenizer(tokenizer.fingerprint)
    return tokenizer


def print_summary(shards: "Shards") -> None:
    """Sizes, fingerprints, how pictures were read, and counts by source and by kind."""
    from lvm_jax import image_record

    manifest, vocabulary = shards.manifest, shards.vocabulary
    num_bytes = sum(entry["bytes"] for entry in manifest["shards"])
    print(shards.directory)
    print(f"  sentences   {len(shards):,}")
    print(f"  images      {manifest['num_images']:,} of {shards.tokens_per_image} ids")
    print(f"  shards      {len(manifest['shards'])}, {num_bytes / 2**20:,.1f} MiB")
    print(f"  vocabulary  {vocabulary.num_codes} codes + {vocabulary.num_special} special ids")
    print(f"  tokenizer   {shards.tokenizer_fingerprint}")
    print(f"  fingerprint {shards.fingerprint}")
    print(f"  pictures    {image_record.describe(shards.images)}")
    for title, table in (("source", "by_source"), ("kind", "by_kind")):
        print(f"\n{title:24}{'sentences':>14}{'images':>14}{'tokens':>16}")
        for name, entry in manifest["counts"][table].items():
            tokens = entry["images"] * shards.tokens_per_image
            print(f"{name:24}{entry['sentences']:14,}{entry['images']:14,}{tokens:16,}")


def print_lengths(shards: "Shards") -> None:
    """A histogram of images per sentence."""
    counts = np.bincount(shards.num_images)
    print(f"\n{'images per sentence':>20}{'sentences':>14}")
    for length in np.flatnonzero(counts):
        bar = "#" * max(1, round(BAR * counts[length] / counts.max()))
        print(f"{length:20}{counts[length]:14,}  {bar}")


def print_codes(options: Options, shards: "Shards") -> None:
    """How a sample of sentences, spread evenly, uses the codes."""
    from lvm_jax.measures import codes

    size = len(shards) if not options.sample else min(options.sample, len(shards))
    chosen = np.arange(size) * len(shards) // size
    counts = np.zeros(shards.vocabulary.num_codes, np.int64)
    for part in np.array_split(chosen, -(-size // 1024)):
        for ids in shards.read(part):
            counts += codes.histogram(ids, len(counts))
    top = np.argsort(-counts, kind="stable")[:5]
    most = ", ".join(f"{code} ({counts[code] / counts.sum():.2%})" for code in top)
    print(f"\ncodes of {size:,} sentences")
    print(f"  in use      {np.count_nonzero(counts)} of {len(counts)}")
    print(f"  perplexity  {codes.perplexity(counts):.1f} (unigram)")
    print(f"  frequent    {most}")
    print(f"\n{'codes by rank':>20}{'share of ids':>14}")
    ranked, first = np.sort(counts)[::-1] / counts.sum(), 1
    while first <= len(counts):
        last = min(2 * first - 1, len(counts))
        chunk = ranked[first - 1 : last].sum()
        print(f"{f'{first}-{last}':>20}{chunk:14.2%}  {'#' * round(BAR * chunk)}")
        first *= 2


def verify(shards: "Shards") -> None:
    """Reads everything; ValueError names the files whose checksum is another."""
    total = sum(entry["bytes"] for entry in shards.manifest["shards"])
    with progress_bar.Bar(total=total, unit="B", unit_scale=True, desc="verify") as bar:
        shards.verify(bar.update)
    print(f"\nchecksums of {len(shards.manifest['shards'])} shards are right")


def export(path: str, shards: "Shards") -> None:
    """Writes LVM's JSON lines to a file."""
    from lvm_jax.data.building.jsonl import export_jsonl

    with progress_bar.Bar(total=len(shards), unit=" sentences", desc="export") as bar:
        export_jsonl(shards, path, bar.update)
    print(f"\n{path}: {len(shards):,} lines")


def draw(options: Options, shards: "Shards", tokenizer: "Tokenizer") -> None:
    """A picture with a few sentences of every source, one a row, what it is written under each."""
    from lvm_jax import file_names, images, sheets

    rows, names = [], []
    for number, source in enumerate(shards.sources):
        places = np.flatnonzero(shards.source_ids == number)
        count = min(options.decode, len(places))
        chosen = places[np.arange(count) * len(places) // count]
        for record in shards.read_records(chosen):
            pictures = tokenizer.decode(record.ids.astype(np.int32))
            names.append(file_names.shown(f"{source}: {record.kind}, {record.key}"))
            rows.append(sheets.grid([list(images.to_uint8(np.asarray(pictures)))]))
            rows.append(sheets.text_line(_shorten(names[-1])))
    path = pathlib.Path(options.out)
    images.write_image(path, sheets.above(rows))
    print(f"\n{path}, from top to bottom:")
    for name in names:
        print(f"  {name}")


def _shorten(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 3]}..."


if __name__ == "__main__":
    cli.run(main, arguments={"directory": "DIR"})
