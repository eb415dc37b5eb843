"""Animations are drawn frame over frame: what each draws, and what of it stays for the next."""

import dataclasses
import enum
import functools
import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import PIL.Image

from lvm_jax.image_formats import image_files, samples

_NOTHING = (0, 0, 0, 0)


class Disposal(enum.Enum):
    """What becomes of a frame before the next one is drawn."""

    KEEP = enum.auto()
    CLEAR = enum.auto()  # its rectangle becomes transparent
    RESTORE = enum.auto()  # its rectangle becomes what it was before


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """What one frame draws.

    Attributes:
        left, top, width, height: its rectangle in pixels; what lies beyond the picture is not seen.
        still: a file that holds its pixels alone.
        disposal: of the rectangle.
        is_over: it is laid over what is there, else it replaces it, its transparency too.
    """

    left: int
    top: int
    width: int
    height: int
    still: bytes
    disposal: Disposal
    is_over: bool = True


def compose(
    path: str,
    size: tuple[int, int],
    parts: Iterable[Part],
    max_pixels: int,
    background: tuple[int, int, int],
) -> Iterator[Callable[[], np.ndarray]]:
    """What makes the picture of each frame, uint8 [H, W, 3]; to be called before the next is taken.

    Args:
        path: of the file, for errors.
        size: width and height of the picture, which is transparent at first.
        parts: what the frames draw.
        max_pixels: larger frames are refused.
        background: red, green, blue in 0..255 that what stays transparent is laid over.

    Raises:
        ImageError: a frame is too large.
        Exception: whatever a frame that is damaged makes Pillow raise.
    """
    canvas = PIL.Image.new("RGBA", size, _NOTHING)
    for part in parts:
        image_files.require_small(path, (part.width, part.height), max_pixels)
        before = canvas.copy() if part.disposal is Disposal.RESTORE else None
        if part.width and part.height:
            _draw(canvas, part)
        yield functools.partial(_flat, canvas, background)
        if before is not None:
            canvas = before
        elif part.disposal is Disposal.CLEAR:
            right, bottom = part.left + part.width, part.top + part.height
            canvas.paste(_NOTHING, (part.left, part.top, right, bottom))


def _draw(canvas: PIL.Image.Image, part: Part) -> None:
    try:
        with PIL.Image.open(io.BytesIO(part.still)) as still:
            pixels = samples.to_colors(still).convert("RGBA")
    except PIL.UnidentifiedImageError as error:
        raise ValueError("a frame is no picture") from error
    width, height = canvas.width - part.left, canvas.height - part.top
    if not part.is_over:
        canvas.paste(pixels, (part.left, part.top))
    elif width > 0 and height > 0:
        seen = pixels.crop((0, 0, min(part.width, width), min(part.height, height)))
        canvas.alpha_composite(seen, (part.left, part.top))


def _flat(canvas: PIL.Image.Image, background: tuple[int, int, int]) -> np.ndarray:
    return np.asarray(samples.over(canvas, background))
