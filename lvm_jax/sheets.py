"""Pictures of pictures: enlarged, with captions, laid out on white.

Everything here is uint8 [H, W, 3]; a block is such a picture that becomes part of a larger one.
"""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from lvm_jax import file_names

GAP = 2  # between the pictures of a group
GROUP_GAP = 14  # between groups
# Pictures of a tokenizer may have 16 pixels a side: too few to see anything on a screen.
READABLE_SIDE = 144
_MOST_WIDTH = 1200
_MARGIN = 8


def readable_scale(side: int, least: int = READABLE_SIDE) -> int:
    """The least whole number that makes pictures large enough to look at.

    Args:
        side: their pixels.
        least: how many they are to take.
    """
    return max(1, -(-least // side))


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """A picture several times as large, smoothly: uint8 [H, W, 3] -> [scale * H, scale * W, 3]."""
    if scale == 1:
        return picture
    height, width = picture.shape[:2]
    size = width * scale, height * scale
    large = PIL.Image.fromarray(picture).resize(size, PIL.Image.Resampling.BICUBIC)
    return np.asarray(large)


def text_line(
    text: str, width: int | None = None, *, size: int = 10, color: str = "black"
) -> np.ndarray:
    """A line of text: uint8 [1.4 * size, W, 3].

    Args:
        text: what to write; letters that are not Latin become "?", line ends are escaped.
        width: of the line; text that does not fit ends in dots. None takes what the text takes.
        size: of the letters in pixels.
        color: of the letters, as Pillow names it.
    """
    font = PIL.ImageFont.load_default(size)
    # Pillow's own font knows Latin letters only.
    text = file_names.shown(text).encode("ascii", "replace").decode()
    room = lambda text: round(font.getlength(text)) + 4
    if width is None:
        width = room(text)
    elif room(text) > width:
        while text and room(f"{text}...") > width:
            text = text[:-1]
        text = f"{text}..." if text else ""
    line = PIL.Image.new("RGB", (width, round(1.4 * size)), "white")
    PIL.ImageDraw.Draw(line).text((2, 1), text, font=font, fill=color)
    return np.asarray(line)


def captioned(block: np.ndarray, text: str, *, size: int = 12, color: str = "black") -> np.ndarray:
    """A block under a line of text, which may be wider than it."""
    return above([text_line(text, size=size, color=color), block])


def beside(blocks: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Blocks in a row, their tops aligned."""
    return above([block.swapaxes(0, 1) for block in blocks], gap).swapaxes(0, 1)


def above(blocks: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Blocks below each other, their left sides aligned."""
    width = max(block.shape[1] for block in blocks)
    height = sum(block.shape[0] for block in blocks) + gap * (len(blocks) - 1)
    canvas = np.full((height, width, 3), 255, np.uint8)
    top = 0
    for block in blocks:
        canvas[top : top + block.shape[0], : block.shape[1]] = block
        top += block.shape[0] + gap
    return canvas


def flow(
    blocks: Sequence[np.ndarray], gap: int = GROUP_GAP, width: int = _MOST_WIDTH
) -> np.ndarray:
    """Blocks in rows like words on a page: a row begins where the last has no more room."""
    rows: list[list[np.ndarray]] = []
    used = width
    for block in blocks:
        if used + gap + block.shape[1] > width:
            rows.append([])
            used = -gap
        rows[-1].append(block)
        used += gap + block.shape[1]
    return above([beside(row, gap) for row in rows], gap)


def grid(rows: Sequence[Sequence[np.ndarray | None]], gap: int = 2) -> np.ndarray:
    """Lays pictures out in rows on white.

    Args:
        rows: uint8 [H, W, 3] pictures; None leaves a cell empty; rows may differ in length.
        gap: white pixels around every cell.

    Returns:
        uint8 [H, W, 3]; every cell has the size of the largest picture, pictures at top left.
    """
    pictures = [picture for row in rows for picture in row if picture is not None]
    if not pictures:
        raise ValueError("a grid needs at least one picture")
    height = max(picture.shape[0] for picture in pictures) + gap
    width = max(picture.shape[1] for picture in pictures) + gap
    columns = max(len(row) for row in rows)
    canvas = np.full((len(rows) * height + gap, columns * width + gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            if picture is not None:
                top, left = i * height + gap, j * width + gap
                canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def page(block: np.ndarray) -> np.ndarray:
    """A block with white around it."""
    return np.pad(block, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)
