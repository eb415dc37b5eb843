"""COCO's run-length codes of masks.

A mask is read column by column; the code gives the lengths of runs, by turns outside and inside,
the first of them outside. Compressed, a length is the difference to the length two runs before
(from the fourth run on), in groups of five bits, lowest first, each a character from "0" on: 32
says that more follow, 16 of the last one is the sign.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_FIRST = ord("0")
_MORE, _SIGN = 32, 16
_MOST_BITS = 65


def decode(code: Mapping[str, Any], shape: tuple[int, int] | None = None) -> np.ndarray:
    """{"size": [H, W], "counts": lengths or a string} -> bool [H, W].

    Args:
        code: the run lengths.
        shape: [H, W] that the mask must have; others are refused before they take memory.

    Raises:
        ValueError: no such code, another shape, or lengths that do not sum to H * W.
    """
    try:
        height, width = map(int, code["size"])
        counts = code["counts"]
        lengths = _lengths(counts) if isinstance(counts, str) else [int(n) for n in counts]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"a run-length code needs size and counts: {reason}; correct or remove it"
        ) from error
    if shape is not None and (height, width) != shape:
        raise ValueError(f"its mask is {(height, width)}, its image {shape}; make them equal")
    if min(height, width, *lengths, 0) < 0:
        raise ValueError(
            f"a run-length code of {height} x {width} has negative numbers; correct or remove it"
        )
    if sum(lengths) != height * width:
        raise ValueError(
            f"run lengths sum to {sum(lengths)}, not to {height} x {width} = {height * width}; "
            "correct or remove it"
        )
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def _lengths(text: str) -> list[int]:
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - _FIRST
        if not 0 <= bits < 2 * _MORE:
            raise ValueError(f"character {character!r} is no part of a run-length code")
        value |= (bits & (_MORE - 1)) << shift
        shift += 5
        if shift > _MOST_BITS:
            raise ValueError("a run length has too many characters")
        if not bits & _MORE:
            if bits & _SIGN:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the run-length code is cut short")
    return lengths


def encode(mask_HW: np.ndarray) -> dict[str, Any]:
    """bool [H, W] -> an uncompressed code, the inverse of `decode`."""
    flat = np.asarray(mask_HW, bool).T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    lengths: Sequence[int] = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(mask_HW.shape), "counts": list(lengths)}
