"""What somebody drew over a picture -> a query, in the forms that the library's own kinds have.

Legend: H height, W width in pixels.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import PIL.Image

from lvm_jax.demo.uploads import UploadError

# More than this much opaque counts as drawn; brushes have soft borders.
_DRAWN = 127


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """What becomes of strokes.

    Attributes:
        about: for who chooses.
        draw: picture uint8 [H, W, 3], strokes uint8 [H, W, 4] -> uint8 [H, W, 3].
    """

    about: str
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _hole(picture: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    # Black, as `pictures.derive.inpaint_hole` makes them.
    return np.where(_is_drawn(strokes), np.uint8(0), picture)


def _mask(picture: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    white = np.full_like(picture, 255)
    return np.where(_is_drawn(strokes), white, np.uint8(0))


def _edges(picture: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    # As bright as they are opaque, on black, as `pictures.derive.edges` makes them.
    return np.repeat(strokes[..., 3:], 3, axis=2)


def _is_drawn(strokes: np.ndarray) -> np.ndarray:
    return strokes[..., 3:] > _DRAWN


def _over(picture: np.ndarray, layer: np.ndarray) -> np.ndarray:
    below = PIL.Image.fromarray(picture).convert("RGBA")
    return np.asarray(PIL.Image.alpha_composite(below, PIL.Image.fromarray(layer)).convert("RGB"))


FORMS = {
    "hole": Form(about="what you paint over is cut out, to be filled in", draw=_hole),
    "mask": Form(about="your strokes alone, white on black", draw=_mask),
    "edges": Form(about="your strokes alone, as soft lines on black", draw=_edges),
    "colors": Form(about="the picture with your strokes in their colors", draw=_over),
}


def query(background: np.ndarray | None, layers: list[np.ndarray], form: str) -> np.ndarray:
    """The query that a sketch stands for.

    Args:
        background: the picture, uint8 [H, W, 4], transparent around it; None for none.
        layers: of strokes, uint8 [H, W, 4].
        form: of `FORMS`.

    Returns:
        uint8 [H, W, 3].

    Raises:
        UploadError: there is nothing on it, or no picture under a hole.
    """
    strokes = _flattened(layers)
    if background is not None and not background[..., 3].any():
        background = None  # an empty canvas comes as transparent pixels
    if background is None and (strokes is None or form == "hole"):
        missing = "a picture under it" if strokes is not None else "something on the canvas"
        raise UploadError(
            f"The sketch needs {missing}: give a picture, or draw. A file that does not appear on "
            "the canvas is no picture, or too large."
        )
    if strokes is None:
        if form in ("mask", "edges"):
            raise UploadError("Nothing is drawn yet: draw on the picture with the brush.")
        assert background is not None
        strokes = np.zeros((*background.shape[:2], 4), np.uint8)
    if background is None:
        background = np.full(strokes.shape, 255, np.uint8)
    background = _fitting(background, strokes)
    # A picture lies in the middle of the canvas: what is around it is no part of the query.
    inside = _box(background[..., 3] > 0)
    background, strokes = background[inside], strokes[inside]
    picture = _over(np.full((*strokes.shape[:2], 3), 255, np.uint8), background)
    return FORMS[form].draw(picture, strokes)


def _flattened(layers: list[np.ndarray]) -> np.ndarray | None:
    """All strokes as one layer uint8 [H, W, 4]; None if nothing is drawn."""
    drawn = [layer for layer in layers if layer is not None and layer[..., 3].any()]
    if not drawn:
        return None
    flat = PIL.Image.fromarray(drawn[0])
    for layer in drawn[1:]:
        flat = PIL.Image.alpha_composite(flat, PIL.Image.fromarray(_fitting(layer, drawn[0])))
    return np.asarray(flat)


def _box(mask_HW: np.ndarray) -> tuple[slice, slice]:
    """The smallest rows and columns that hold all that is true."""
    rows, columns = (np.flatnonzero(mask_HW.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _fitting(layer: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A layer with the size of another one, uint8 [H, W, 4]."""
    image = PIL.Image.fromarray(layer).convert("RGBA")
    height, width = like.shape[:2]
    return np.asarray(image if image.size == (width, height) else image.resize((width, height)))
