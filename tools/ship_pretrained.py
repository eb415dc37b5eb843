r"""Makes the pair that --pretrained names, of a training and its tokenizer, with its card.

  python tools/ship_pretrained.py --workdir=runs/study/runs/all_l_c0.64_seed0 \
      --tokenizer=runs/study/tokenizer --tokenizer_workdir=runs/study/tokenizer_run \
      --corpus=runs/uvd_mini

Writes lvm_jax/pretrained/uvd_mini, over an older pair only when all is well: the tokenizer is that
of the model; everything that either learned from is in CORPUS/ATTRIBUTION.md under terms that are
neither share-alike nor non-commercial; rounding left ids and losses what they were; the pair
answers a prompt; model and tokenizer are under 15 MB together. MODEL_CARD.md gets its numbers from
RESULTS, the study's file of the run (and prompts_RUN.json beside it, without which it cannot say
which tasks were learned, and prompts of all that training posed go along). The shards of the model
must be where they were: they say what it learned from.

Prompts of held-out pictures go along, 500 kB at most: of the tasks that were learned, and of those
that share the queries of the emoji, with the truth and the names of those whose pictures they are.
"""

import dataclasses
import pathlib
import shutil
from typing import TYPE_CHECKING, Any, Literal

import cli
import experiment_files
from lvm_jax import configs
from lvm_jax.pretrained import places

if TYPE_CHECKING:
    from shipping.licences import Attribution
    from shipping.origins import Origins

experiment_files.make_importable()

_RESULTS = experiment_files.ROOT / "experiments" / "results" / "study"
_MOST_BYTES = 15_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ships.

    Attributes:
        workdir: of the transformer's training.
        tokenizer: directory of its tokenizer.
        tokenizer_workdir: of the tokenizer's training; by default the folder that it lies in.
        corpus: of tools/prepare_uvd_mini.py.
        results: the study's file of the run; by default experiments/results/study/RUN.json, where
            RUN is the name of the workdir.
        name: of the pair.
        out: directory to write; by default where the package looks for the name.
        dtype: of the model's matrices.
        tokenizer_dtype: of the tokenizer's parameters.
        prompts: of each of four tasks, to compare what ships with what was trained; not those that
            ship.
    """

    workdir: str
    tokenizer: str
    tokenizer_workdir: str | None = None
    corpus: str
    results: str | None = None
    name: Literal["uvd_mini"] = "uvd_mini"
    out: str | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    tokenizer_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    prompts: int = 16

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "prompts")


def ship(options: Options) -> None:
    from shipping import licences, origins

    workdir, tokenizer = pathlib.Path(options.workdir), pathlib.Path(options.tokenizer)
    out = pathlib.Path(options.out or places.ROOT / options.name)
    file = pathlib.Path(options.results or _RESULTS / f"{workdir.absolute().name}.json")
    measured = origins.results(file)
    if measured is None:
        raise ValueError(f"no results of the run: {file} is missing; tools/study.py measures it")
    training = pathlib.Path(options.tokenizer_workdir or tokenizer.absolute().parent)
    found = origins.read(workdir, tokenizer, training)
    known = licences.Attribution.read(pathlib.Path(options.corpus) / "ATTRIBUTION.md")
    known.of(found.folders)  # before anything is computed
    # Beside its place, so that the older pair stays until all is well.
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _make(options, partial, found, known, measured)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"wrote {out}; read MODEL_CARD.md in it")


def _make(
    options: Options,
    out: pathlib.Path,
    found: "Origins",
    known: "Attribution",
    measured: dict[str, Any],
) -> None:
    """Writes and checks a pair.

    Raises:
        ValueError: it must not ship; says why.
    """
    from lvm_jax import atomic
    from shipping import card, origins, pairs, prompts

    corpus = pathlib.Path(options.corpus)
    trained = pairs.Trained(
        model=pathlib.Path(options.workdir),
        tokenizer=pathlib.Path(options.tokenizer),
        corpus=corpus,
    )
    run = measured["run"]
    out.mkdir(parents=True)
    same, number = trained.write(out, options.dtype, options.tokenizer_dtype, run)
    total = _require_small(pairs.size(out))
    print(f"{total / 1e6:.2f} MB; {same:.2%} of the ids of {number} held-out pictures are the same")
    nats = trained.compare(out, options.prompts)
    for task, (before, after) in nats.items():
        print(f"{task}: {before:.4f} nats per id as trained, {after:.4f} as it ships")
    print(f"answers a mask with a mean squared error of {pairs.smoke(out, corpus):.4f}")
    file = pathlib.Path(options.results or _RESULTS / f"{run}.json")
    asked = origins.results(file.with_name(f"prompts_{run}.json"))
    folder = out / places.PROMPTS
    shipped, shown = prompts.write(folder, corpus, pairs.loader(out), known, asked)
    print(f"{len(shipped)} prompts, {pairs.size(folder) / 1e3:.0f} kB")
    attribution = known.of(found.folders | shown)
    written = card.text(
        options.name,
        networks=pairs.about(out),
        origins=found,
        attribution=attribution,
        checked=pairs.Checked(same_ids=same, pictures=number, nats=nats, prompts=options.prompts),
        measured=measured,
        prompts=asked,
        shipped=sorted(shipped),
    )
    atomic.write_text(out / card.CARD, written)
    atomic.write_text(out / card.ATTRIBUTION, card.attribution_text(options.name, attribution))


def _require_small(num_bytes: int) -> int:
    if num_bytes >= _MOST_BYTES:
        raise ValueError(
            f"the pair has {num_bytes / 1e6:.2f} MB, and may have {_MOST_BYTES / 1e6:.0f}; use "
            "--dtype=bfloat16 and --tokenizer_dtype=bfloat16, or ship a smaller model"
        )
    return num_bytes


if __name__ == "__main__":
    cli.run(ship)
