"""Files that people give -> squares for the model, or one sentence about what is wrong.

Legend: n pictures, S side of a square in pixels.
"""

import os
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from lvm_jax import configs, file_names
from lvm_jax.demo import limits
from lvm_jax.frames import frame_readers
from lvm_jax.generation.jobs import clip_prompts, prompt_files
from lvm_jax.generation.jobs.job import Picture
from lvm_jax.generation.jobs.prompt_files import PromptFile
from lvm_jax.image_formats import image_files
from lvm_jax.images import ImageConfig, ImageError
from lvm_jax.pictures.loader import SquareLoader

MOST_PIXELS = limits.MOST_MEGAPIXELS * 10**6


class UploadError(ValueError):
    """Something that was given and cannot be used, in one sentence for who gave it."""


def read_square(path: str | os.PathLike, reading: ImageConfig, size: int) -> np.ndarray:
    """A picture as the model sees it: uint8 [S, S, 3].

    Args:
        path: of the file, whose last part is what the sentence calls it.
        reading: how pictures become squares.
        size: S.

    Raises:
        UploadError: it is no picture, damaged, or too large.
    """
    return read_frame(Picture(path=os.fspath(path)), reading, size)


def read_frame(picture: Picture, reading: ImageConfig, size: int) -> np.ndarray:
    """`read_square` of a picture or of a frame of a video or animation."""
    try:
        if picture.frame < 0:
            _require_small(picture.path)
        return SquareLoader(_limited(reading), size).load_one(picture.ref)
    except ImageError as error:
        raise UploadError(_sentence(error, picture.path)) from error


def _limited(reading: ImageConfig) -> ImageConfig:
    values = {**configs.to_dict(reading), "max_pixels": min(reading.max_pixels, MOST_PIXELS)}
    return configs.build(ImageConfig, values, "")


def _require_small(path: str) -> None:
    with image_files.opened(path) as opened:
        width, height = opened.size
    if width * height > MOST_PIXELS:
        raise UploadError(
            f"{_name(path)} has {width} x {height} pixels, and this page takes pictures of at most "
            f"{limits.MOST_MEGAPIXELS} megapixels; make it smaller."
        )


def _sentence(error: ValueError, path: str) -> str:
    """An error about a file, which is called by its name alone."""
    name = _name(path)
    text = str(error).replace(path, name).replace("remove or replace the file", "choose another")
    # A file that Pillow opens to no end is also over this page's limit, which is lower.
    text = text.replace(f"{image_files.MOST_PIXELS} pixels", f"{limits.MOST_MEGAPIXELS} megapixels")
    return f"{text if text.startswith(name) else text[0].upper() + text[1:]}."


def _name(path: str) -> str:
    return file_names.shown(pathlib.PurePath(path).name)


def read_layer(path: str | os.PathLike) -> np.ndarray:
    """A picture with its transparency: uint8 [H, W, 4].

    Raises:
        UploadError: it is no picture, damaged, or too large.
    """
    try:
        _require_small(os.fspath(path))
        with image_files.opened(path) as opened:
            return np.asarray(opened.image.convert("RGBA"))
    except ImageError as error:
        raise UploadError(_sentence(error, os.fspath(path))) from error


def frames_of(paths: Sequence[str]) -> list[Picture]:
    """The frames of what was given for a sequence, in order; none is read yet.

    Args:
        paths: pictures, which are ordered as people count (2.png before 10.png), or one video or
            animation.

    Raises:
        UploadError: nothing, several videos, or one that cannot be read.
    """
    clips = [path for path in paths if frame_readers.holds_frames(path)]
    if len(paths) > 1 and clips:
        raise UploadError(
            f"{_name(clips[0])} is a clip: give one clip alone, or pictures without clips."
        )
    if len(paths) > limits.MOST_SEQUENCE_FILES:
        raise UploadError(
            f"{len(paths)} files are too many: give at most {limits.MOST_SEQUENCE_FILES} pictures."
        )
    ordered = sorted(paths, key=lambda path: file_names.counted(pathlib.PurePath(path).name))
    try:
        return [
            frame for path in ordered for frame in clip_prompts.frames_of_file(path, MOST_PIXELS)
        ]
    except ValueError as error:  # an ImageError, or PyAV is missing
        raise UploadError(_sentence(error, ordered[0])) from error


def squares_of(
    prompt: PromptFile, reading: ImageConfig, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures of a prompt file, uint8 [n, S, S, 3], and its targets.

    They are on a disk only while they are read.

    Raises:
        UploadError: one is no picture; says which.
    """
    with tempfile.TemporaryDirectory(prefix="lvm_jax_prompt_") as folder:
        images, targets = prompt.unpack(folder)
        squares = [read_square(path, reading, size) for path in images + targets]
    stacked = np.stack(squares)
    return stacked[: len(images)], stacked[len(images) :]


def read_prompt(path: str) -> PromptFile:
    """A prompt file that was given.

    Raises:
        UploadError: it is none.
    """
    try:
        return prompt_files.read(path)
    except ValueError as error:
        raise UploadError(_sentence(error, path)) from error
