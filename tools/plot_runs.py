r"""Draws the curves of several trainings in one picture.

  python tools/plot_runs.py runs/one runs/other --out=runs.png
  python tools/plot_runs.py runs/lr_* --out=runs.png --x=flops --metrics=train/loss,eval/.*/loss

Every run has a colour, and is called by what its config has that those of the others have not. A
panel shows a metric, or several that a regular expression matches; their names are in
docs/watching.md.
"""

import dataclasses
import pathlib
from typing import Literal

import cli
from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from options import Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which runs, and what of them.

    Attributes:
        workdirs: of trainings.
        out: picture to write: .png, .svg or .pdf.
        metrics: a panel for each name or regular expression; by default loss, held-out loss, norm
            of gradients, learning rate and speed.
        x: what the horizontal axis counts; seconds are those of steps, without compilation,
            evaluations and restarts.
        smooth: points that a mean is of; 1 draws them as they are, and by default it depends on
            their number.
    """

    workdirs: tuple[Place, ...]
    out: str
    metrics: tuple[str, ...] = ()
    x: Literal["step", "tokens", "seconds", "flops"] = "step"
    smooth: int | None = None

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "smooth")


def main(options: Options) -> None:
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax.evaluation.report import runs, runs_picture

    out = pathlib.Path(options.out)
    if out.suffix[1:] not in runs_picture.FORMATS:
        known = ", ".join(f".{name}" for name in runs_picture.FORMATS)
        raise ConfigError(Field("out"), f"={out} must end in one of {known}")
    loaded = runs.load([pathlib.Path(folder) for folder in options.workdirs])
    panels = runs.panels(loaded, options.metrics or runs.METRICS, options.x)
    runs_picture.draw(panels, out, x_label=options.x, smooth=options.smooth)
    for run in loaded:
        print(f"{len(run.lines):6,} lines: {run.label}")
    print(f"wrote {out}: {', '.join(panel.title for panel in panels)}")


if __name__ == "__main__":
    cli.run(main, arguments={"workdirs": "WORKDIR..."}, words="workdirs")
