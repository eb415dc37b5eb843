r"""Measures speed, prints a table, and writes JSON on request.

  python tools/benchmark.py train                  # the train step, tokens/s
  python tools/benchmark.py decode                 # prompt in, ids out
  python tools/benchmark.py decode --lower         # weights and cache of lower precision too
  python tools/benchmark.py decode --candidates=16 --prompt=3840   # beside as many prompts
  python tools/benchmark.py perplexity             # likelihoods, beside training's forward pass
  python tools/benchmark.py tokenize --tokenizer=openmuse_f16_8192
  python tools/benchmark.py data                   # the loader, from synthetic shards
  python tools/benchmark.py data --against=jsonl   # beside a plain reader of LVM's JSON lines
  python tools/benchmark.py data --store=s3://BUCKET/shards   # from a store, with a warm cache
  python tools/benchmark.py plan --sentences=100000000   # rows for very many sentences
  python tools/benchmark.py images                 # JPEG files in, sentences of known ids in
  python tools/benchmark.py checkpoints            # a save, alone and among steps
  python tools/benchmark.py train --against=hf     # beside transformers' LlamaForCausalLM
  python tools/benchmark.py tokenize --tokenizer=openmuse_f16_8192 --batch=2 --against=torch
  python tools/benchmark.py train --preset=300m --batch=8 --context=4096 --dtype=bfloat16 --packed \
      --json=train.json

Times are medians over repeats after a warm-up; compile time stands apart. With --against the
contestants take turns, and speed_ratio is the median of each turn's ratio (above 1: faster than
the rival). On a machine that others use too, cpu_ratio (processor time) is the steadier one.
"""

import dataclasses
import functools
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import cli
from lvm_jax import configs
from options import Place

if TYPE_CHECKING:
    from lvm_jax.model.transformer_config import TransformerConfig

Rows = list[dict[str, Any]]
RIVAL_SUITES = {"hf": ("train", "decode"), "torch": ("tokenize",), "jsonl": ("data",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """What all suites are told.

    Attributes:
        suite: what to measure.
        json: also write the results to this file.
        against: rival: hf (transformers, for train and decode; extra lvm_jax[hf]), torch
            (diffusers' VQModel, for tokenize; extra lvm_jax[diffusers]) or jsonl (LVM's loader, for
            data).
    """

    suite: str
    json: str | None = None
    against: Literal["hf", "torch", "jsonl"] | None = None

    def __post_init__(self) -> None:
        if self.against is not None and self.suite not in RIVAL_SUITES[self.against]:
            known = " or ".join(RIVAL_SUITES[self.against])
            raise ValueError(f"--against={self.against} has no {self.suite} suite; use {known}")
        for field in dataclasses.fields(self):
            if field.type in (int, int | None):
                configs.require_at_least(self, 0 if field.name == "warmup" else 1, field.name)
        if self.json is not None and not pathlib.Path(self.json).absolute().parent.is_dir():
            raise ValueError(f"--json={self.json}: its folder does not exist; make it first")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeats:
    """How often each contestant is measured.

    Attributes:
        warmup: runs of each contestant before that.
        repeats: measurements of each contestant.
    """

    warmup: int = 1
    repeats: int = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A transformer.

    Attributes:
        preset: model size by name, such as 100m; replaces --width to --heads.
        width: model width.
        mlp: width inside the MLP.
        layers: model layers.
        heads: attention heads.
        dtype: compute precision.
        remat: what backward recomputes.
    """

    preset: str | None = None
    width: int = 512
    mlp: int = 1376
    layers: int = 8
    heads: int = 8
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "projections", "dots", "offload", "full"] = "dots"

    def config(self, context: int) -> "TransformerConfig":
        """The model, with room for `context` ids."""
        from lvm_jax.model.transformer_config import PRESETS, TransformerConfig

        changes: dict[str, Any] = {"dtype": self.dtype, "remat": self.remat, "context": context}
        if self.preset is None:
            with configs.within(
                "", hidden_dim="width", mlp_dim="mlp", num_layers="layers", num_heads="heads"
            ):
                return TransformerConfig(
                    hidden_dim=self.width,
                    mlp_dim=self.mlp,
                    num_layers=self.layers,
                    num_heads=self.heads,
                    **changes,
                )
        if self.preset not in PRESETS:
            raise ValueError(f"--preset={self.preset} is unknown; use one of {', '.join(PRESETS)}")
        return dataclasses.replace(PRESETS[self.preset], **changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(Suite, Repeats, Model):
    """The train step.

    Attributes:
        batch: rows (2 by default for train, 4 for decode) or images (16 for tokenize).
        context: ids per training row.
        packed: rows of several sentences and padding; the rival's stay whole.
        loss_chunks: pieces of a row whose logits exist at a time.
    """

    batch: int = 2
    context: int = 1024
    packed: bool = False
    loss_chunks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context % self.loss_chunks:
            raise ValueError(
                f"--loss_chunks={self.loss_chunks} must divide --context={self.context}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(Suite, Repeats, Model):
    """Prompts in, ids out.

    Attributes:
        batch: prompts at a time, when each has one candidate.
        prompt: ids per prompt.
        ids: ids to generate per row.
        candidates: more than one: so many candidates of one prompt, beside as many prompts.
        lower: measure weights and cache of lower precision too, and the error that they make.
    """

    batch: int = 4
    prompt: int = 512
    ids: int = 256
    candidates: int = 1
    lower: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates > 1 and self.against:
            raise ValueError(f"--against={self.against} shares no prompts; drop --candidates")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(Suite, Repeats, Model):
    """Likelihoods of targets after prompts.

    Attributes:
        batch: rows.
        context: ids per row.
        targets: ids at its end that are scored.
    """

    batch: int = 4
    context: int = 1024
    targets: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets >= self.context:
            raise ValueError(f"--targets={self.targets} must be less than --context={self.context}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenize(Suite, Repeats):
    """Images in, ids out.

    Attributes:
        tokenizer: tokenizer preset.
        batch: images.
    """

    tokenizer: str = "quickstart"
    batch: int = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(Suite):
    """The loader.

    Attributes:
        repeats: measurements of each contestant.
        store: read from this directory of an object store instead, gs://BUCKET/... or s3://...;
            the shards are written there first, and stay.
    """

    repeats: int = 5
    store: Place | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.store and self.against:
            raise ValueError(f"--against={self.against} reads no store; drop --store")
        if self.store and not self.store.startswith(("gs://", "s3://")):
            raise ValueError(f"--store={self.store} must be gs://BUCKET/... or s3://BUCKET/...")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Suite):
    """Rows for very many sentences.

    Attributes:
        sentences: sentences to plan.
        records: write the sentences too and time the first batch.
    """

    sentences: int = 10_000_000
    records: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images(Suite, Repeats):
    """Image files in, sentences of known ids in."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoints(Suite, Repeats):
    """A save with and without checksums, and while steps go on.

    Attributes:
        megabytes: size of the state.
    """

    megabytes: int = 600


S = TypeVar("S", bound=Suite)


def _reported(measure: Callable[[S], Rows]) -> Callable[[S], None]:
    """Measures, prints a table and writes --json."""

    @functools.wraps(measure)
    def run(options: S) -> None:
        begun = time.time()
        rows = measure(options)
        report = {"suite": options.suite, **_machine(), "seconds": time.time() - begun}
        report |= {"results": rows, "command": " ".join(sys.argv[1:])}
        print(
            f"{options.suite} on {report['devices']} ({report['cores']} cores), jax {report['jax']}"
        )
        print(table(rows))
        if options.json is not None:
            from lvm_jax import atomic

            atomic.write_json(options.json, report)

    return run


def _require_hf(options: Suite) -> None:
    if options.against == "hf":
        from benchmark_suites import hf

        hf.require()


@_reported
def train(options: Train) -> Rows:
    """The train step, tokens/s."""
    _require_hf(options)
    from benchmark_suites import train

    return train.run(
        options.config(options.context),
        batch_size=options.batch,
        context=options.context,
        warmup=options.warmup,
        repeats=options.repeats,
        packed=options.packed,
        loss_chunks=options.loss_chunks,
        against=options.against,
    )


@_reported
def decode(options: Decode) -> Rows:
    """Prompt in, ids out."""
    _require_hf(options)
    from benchmark_suites import decode

    return decode.run(
        options.config(options.prompt + options.ids),
        batch_size=options.batch,
        prompt_length=options.prompt,
        num_ids=options.ids,
        candidates=options.candidates,
        lower=options.lower,
        warmup=options.warmup,
        repeats=options.repeats,
        against=options.against,
    )


@_reported
def perplexity(options: Perplexity) -> Rows:
    """Targets after prompts, beside training's forward pass."""
    from benchmark_suites import perplexity

    return perplexity.run(
        options.config(options.context),
        batch_size=options.batch,
        num_targets=options.targets,
        warmup=options.warmup,
        repeats=options.repeats,
    )


@_reported
def tokenize(options: Tokenize) -> Rows:
    """Images in, ids out."""
    if options.against == "torch":
        from benchmark_suites import torch_vqgan

        torch_vqgan.require()
    from benchmark_suites import tokenize

    return tokenize.run(
        preset=options.tokenizer,
        num_images=options.batch,
        warmup=options.warmup,
        repeats=options.repeats,
        against=options.against,
    )


@_reported
def data(options: Data) -> Rows:
    """The loader, from synthetic shards."""
    from benchmark_suites import data

    return data.run(repeats=options.repeats, against=options.against, store=options.store)


@_reported
def plan(options: Plan) -> Rows:
    """Rows for very many sentences."""
    from benchmark_suites import plan

    return plan.run(num_sentences=options.sentences, write_records=options.records)


@_reported
def images(options: Images) -> Rows:
    """JPEG files in, sentences of known ids in."""
    from benchmark_suites import images

    return images.run(warmup=options.warmup, repeats=options.repeats)


@_reported
def checkpoints(options: Checkpoints) -> Rows:
    """A save, alone and among steps."""
    from benchmark_suites import checkpoints

    return checkpoints.run(
        megabytes=options.megabytes, warmup=options.warmup, repeats=options.repeats
    )


def _machine() -> dict[str, Any]:
    import jax

    kinds = [device.device_kind for device in jax.devices()]
    return {
        "devices": ", ".join(f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))),
        "cores": os.cpu_count(),
        "jax": jax.__version__,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of one suite under one header; a value that a row lacks is a dash."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [key for key in columns if any(row.get(key) is not None for row in rows)]
    cells = [columns] + [[_spell(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))
        )
        for line in cells
    )


def _spell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    suites = (train, decode, perplexity, tokenize, data, plan, images, checkpoints)
    cli.run({f"suite={suite.__name__}": suite for suite in suites}, arguments={"suite": "suite"})
