"""Animated emoji as folders of frames."""

import dataclasses
import pathlib

from PIL import Image, ImageSequence

from uvd_mini import emoji, files, items, splits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Animation:
    """One animated emoji: its codepoints and its WebP file."""

    key: str
    source: str

    @property
    def folder(self) -> str:
        """Its frames' folder, relative to the corpus."""
        return f"{splits.split_of(splits.emoji_identity(self.key))}/emoji_anim/{self.key}"


def list_animations(package: pathlib.Path, limit: int) -> list[Animation]:
    """The files of the package with more than one frame.

    Args:
        package: the unpacked package; half of its files are stills.
        limit: how many to take at most, without skin tones if not all; 0 for all.
    """
    moving = []
    for path in sorted((package / "assets").glob("*.webp")):
        if emoji.is_flag(path.stem) or (limit and splits.has_skin_tone(path.stem)):
            continue
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                moving.append(Animation(key=path.stem, source=str(path)))
    # In the order of a hash, so that few are a fair sample and more contain the fewer.
    moving.sort(key=lambda one: splits.fraction(one.key, "anim"))
    return moving[:limit] if limit else moving


def make(out: pathlib.Path, animation: Animation) -> None:
    """Writes every frame; the folder appears when all are there."""

    def write(folder: pathlib.Path) -> None:
        folder.mkdir(exist_ok=True)
        for index, frame in enumerate(frames):
            files.save_png(folder / f"{index:05d}.png", frame)

    try:
        with Image.open(animation.source) as image:
            frames = [
                files.resized(files.over_white(frame)) for frame in ImageSequence.Iterator(image)
            ]
    except OSError as error:
        raise items.ItemError(f"{animation.key}: {error}") from error
    files.place(out, animation.folder, write)


def is_done(out: pathlib.Path, animation: Animation) -> bool:
    return (out / animation.folder).is_dir()
