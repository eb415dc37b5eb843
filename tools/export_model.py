r"""Writes the parameters of a training alone, as a directory that --model of any tool takes.

  python tools/export_model.py --workdir=runs/3b --out=models/3b --ema --dtype=bfloat16
  python tools/export_model.py --workdir=runs/3b --out=models/3b --average_last=5
  python tools/export_model.py --workdir=runs/3b --dry_run

The directory holds parameters and config.json: sizes, the special ids around sentences, the
tokenizer's fingerprint, how pictures were read, and where it comes from. It needs the training no
more. Memory holds some hundred megabytes, or three times the largest piece that one device of the
training wrote.
--workdir may be a model directory, to write it in another type.
"""

import dataclasses
from typing import Literal

import cli
from lvm_jax.configs import ConfigError, Field
from options import Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which parameters of a training, and where to.

    Attributes:
        workdir: of the training.
        out: directory to write; new or empty.
        step: which checkpoint; by default the newest whole one.
        steps: checkpoints whose mean is written: 100,200,300.
        average_last: so many of the newest checkpoints, whose mean is written.
        ema: the training's running average instead of its parameters.
        dtype: of matrices, rounded to nearest even; vectors stay float32. By default both are as
            the training keeps them.
        dry_run: print every array, its shape, type and size, and write nothing.
    """

    workdir: Place
    out: Place | None = None
    step: int | None = None
    steps: tuple[str, ...] = ()
    average_last: int | None = None
    ema: bool = False
    dtype: Literal["float32", "bfloat16"] | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.out is None and not self.dry_run:
            raise ConfigError(Field("out"), " is required")
        if not all(step.isdecimal() for step in self.steps):
            raise ConfigError(Field("steps"), f"={','.join(self.steps)} must be such as 100,200")


def main(options: Options) -> None:
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax import progress_bar
    from lvm_jax.conversion import export
    from lvm_jax.training import model_directory

    config = export.ExportConfig(
        step=options.step,
        steps=tuple(map(int, options.steps)),
        average_last=options.average_last,
        ema=options.ema,
        dtype=options.dtype,
    )
    if options.out is not None:
        model_directory.require_free(options.out)
    prepared = export.prepare(options.workdir, config)
    for line in (*(export.table(prepared) if options.dry_run else ()), *export.summary(prepared)):
        print(line)
    if options.dry_run or options.out is None:
        return
    size, scale = prepared.num_bytes, {"unit": "B", "unit_scale": True, "desc": "writing"}
    with progress_bar.Bar(total=size, **scale) as bar:
        export.write(prepared, options.out, bar.update)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    cli.run(main)
