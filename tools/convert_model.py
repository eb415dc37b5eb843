r"""Converts the weights of a transformer between lvm_jax, Hugging Face LLaMA and EasyLM.

  python tools/convert_model.py --source=LVM_ckpts/ --from=hf --to=lvm_jax --out=model
  python tools/convert_model.py --source=streaming_params --from=easylm --preset=lvm_7b \
      --to=lvm_jax --out=model
  python tools/convert_model.py --source=WORKDIR --from=lvm_jax --ema --dtype=bfloat16 --to=hf \
      --out=exported

Formats:
  lvm_jax   a model directory, or a training's working directory (its newest whole checkpoint)
  hf        LlamaForCausalLM: config.json with safetensors or .bin files, in shards with their
            index or alone; what is written loads in transformers, and its config is plain LLaMA,
            as vLLM and llama.cpp read it (these were never tried)
  easylm    a stream of EasyLM: streaming_params or streaming_train_state

The work goes array by array: memory holds the largest of them once and some megabytes more. Files
of torch are read without torch, and nothing that they would run is run.

The network is read wherever its names all stand: under entries ("state_dict", "params") and
prefixes ("model.", "module.", "base_model.", "language_model.", "_orig_mod."), beside optimizers
and rotary buffers; the log says what is left out. A tied head is written out. The table of the
vocabulary may be padded or have more special ids than the config says. A missing array, one too
many, another shape, or a network that is not ours is refused before anything is written.

An EasyLM file carries no config: --preset or --source_config gives it. Which ids are codes, and
whether sentences begin with BOS and end with EOS, is kept in what is written; other checkpoints
are taken as 8,192 codes, the rest special, and as having BOS or EOS where bos_token_id or
eos_token_id of their config is the id that has this place here (8192, 8193).

--average=A,B writes the mean of --source, A and B; of a training, a number is another step.
--dry_run prints what would become of every array.
"""

import dataclasses
import pathlib
from typing import Any, Literal

from absl import logging

import cli
import source_configs
from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """A checkpoint, and what it becomes.

    Attributes:
        source: file or folder to read.
        source_format: what --source is; the usual name of this flag is --from.
        to: what to write.
        out: folder to write, or file of EasyLM (FILE.json beside it gets its sizes).
        preset: sizes by name, such as lvm_7b, instead of those of a config.
        source_config: sizes in the field names of config.json ("hidden_size", ...): a JSON file,
            or JSON itself; overrides config.json field by field.
        num_codes: ids that are codes, where the checkpoint does not say it.
        entry: where in --source to read, if the weights are there several times.
        dtype: of all arrays; by default each stays as it is.
        rope_table: precision of the rotary table; bfloat16 is what LVM's own training used.
        average: further checkpoints, A,B,...: the mean of all is written.
        step: of a training: which checkpoint.
        ema: of a training: its running average.
        padded_vocabulary: write the padding rows of the vocabulary, too (hf, easylm).
        shard_gigabytes: most gigabytes of a file (hf).
        dry_run: print what would become of every array, and write nothing.
        overwrite: replace the checkpoint that --out is already.
    """

    source: str
    source_format: Literal["hf", "easylm", "lvm_jax"] | None = None
    to: Literal["lvm_jax", "hf", "easylm"]
    out: str | None = None
    preset: str | None = None
    source_config: str | None = None
    num_codes: int | None = None
    entry: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    rope_table: Literal["float32", "bfloat16"] | None = None
    average: tuple[str, ...] = ()
    step: int | None = None
    ema: bool = False
    padded_vocabulary: bool = False
    shard_gigabytes: float = 5.0
    dry_run: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.source_format is None:
            raise ConfigError(Field("from"), " is required: hf, easylm or lvm_jax")
        if self.out is None and not self.dry_run:
            raise ConfigError(Field("out"), " is required")
        configs.require_at_least(self, 1, "num_codes")
        if not self.shard_gigabytes > 0:
            raise ConfigError(Field("shard_gigabytes"), f"={self.shard_gigabytes} must be positive")
        own = ("step", "ema")
        others = ("preset", "source_config", "num_codes", "entry")
        for name in others if self.source_format == "lvm_jax" else own:
            if getattr(self, name):
                raise ConfigError(
                    *(Field("from"), f"={self.source_format} does not read ", Field(name))
                )


def main(options: Options) -> None:
    source_config = source_configs.read(options.source_config)

    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax import progress_bar
    from lvm_jax.conversion import job, places

    sources = open_sources(options, source_config)
    source = sources[0]
    if len(sources) > 1:
        from lvm_jax.conversion.sources import AverageSource

        source = AverageSource(sources)
    writing = job.Writing(
        to=options.to,
        dtype=options.dtype,
        padded=options.padded_vocabulary,
        rope_table=options.rope_table,
        shard_bytes=int(options.shard_gigabytes * 1e9),
        origin={
            "format": options.source_format,
            "path": options.source,
            **({"average": list(options.average)} if options.average else {}),
            **({"step": options.step} if options.step is not None else {}),
            **({"ema": True} if options.ema else {}),
        },
    )
    planned = job.plan(source, writing)
    if options.out is not None:
        paths = [each.path for each in sources]
        out = pathlib.Path(options.out)
        size = job.num_bytes(planned)
        places.require_free(out, paths, size, overwrite=options.overwrite)
        if options.to == "easylm":
            places.require_free(job.fields_file(out), [], 0, overwrite=options.overwrite)
    if options.dry_run or options.out is None:
        for line in job.describe(source, planned, options.to):
            print(line)
        return
    with progress_bar.Bar(total=size, unit="B", unit_scale=True, desc="converting") as bar:
        job.convert(source, planned, writing, out, bar.update)
    for line in job.summary(planned):
        logging.info("%s: %s", out, line)


def open_sources(options: Options, source_config: dict[str, Any] | None) -> list[Any]:
    """Looks into --source, and into what is averaged with it."""
    from lvm_jax.conversion import foreign
    from lvm_jax.conversion.sources import OwnSource

    if options.source_format == "lvm_jax":
        opened = [OwnSource(options.source, step=options.step, ema=options.ema)]
        for other in options.average:
            if other.isdecimal() and not pathlib.Path(other).exists():
                opened.append(OwnSource(options.source, step=int(other), ema=options.ema))
            else:
                opened.append(OwnSource(other, ema=options.ema))
        return opened
    assert options.source_format is not None
    geometry = foreign.Geometry(
        preset=options.preset,
        source_config=source_config,
        num_codes=options.num_codes,
        entry=options.entry,
        dtype=options.dtype,
    )
    return [
        foreign.open_source(path, options.source_format, geometry)
        for path in (options.source, *options.average)
    ]


if __name__ == "__main__":
    cli.run(main, aliases={"from": "source_format"})
