"""Writes the real pictures that come inside the scikit-image wheel into folders.

  python tools/prepare_pictures.py --out=runs/quickstart/pictures

makes OUT/train/color, OUT/train/gray, OUT/held_out/color and OUT/held_out/gray. Whole pictures are
held out, not crops, so that nothing of a held-out picture was ever seen in training. Drawings,
diagrams and silhouettes of the wheel are left out. Existing files are kept.
"""

import dataclasses
import pathlib
import shutil

import skimage

import cli

PICTURES = {
    "train/color": (
        "astronaut.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "train/gray": ("brick.png", "cell.png", "coins.png", "grass.png", "gravel.png", "moon.png"),
    "held_out/color": ("chelsea.png", "coffee.png"),
    "held_out/gray": ("camera.png",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where pictures go.

    Attributes:
        out: folder to write to.
    """

    out: str


def main(options: Options) -> None:
    source = pathlib.Path(skimage.__file__).parent / "data"
    written = 0
    for folder, names in PICTURES.items():
        target = pathlib.Path(options.out) / folder
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (target / name).exists():
                shutil.copyfile(source / name, target / name)
                written += 1
    total = sum(map(len, PICTURES.values()))
    there = total - written
    print(f"pictures: {total} in {options.out} ({written} written, {there} already there)")


if __name__ == "__main__":
    cli.run(main)
