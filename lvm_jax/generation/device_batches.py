"""Prompts of any lengths -> device batches of few shapes.

Legend: N prompts of a device batch, M groups of C candidates that are decoded at a time, L prompt
ids with padding.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# A loop that has made room for few ids more reads little that is empty, and is a loop more to
# compile: at most `MOST_SEGMENTS` of them, none shorter than `SEGMENT`.
SEGMENT = 128
MOST_SEGMENTS = 4


def bucket_length(length: int, lead: int, longest: int) -> int:
    """The length that a prompt is padded to: at most half as long again.

    Whole powers of two and the middles between them, 256, 384, 512, 768, ... Prompts of one, two,
    three, four, six, eight, twelve and sixteen images of 256 ids need no padding.

    Args:
        length: ids of the prompt.
        lead: ids before its first image, 1 with BOS; they stay outside the rounding.
        longest: no prompt can be longer.
    """
    body = length - lead
    if body < 2:
        return length
    step = 1 << max(0, body.bit_length() - 2)
    return min(lead + -(-body // step) * step, longest)


def by_bucket(prompts: Sequence[np.ndarray], bos: int, longest: int) -> dict[int, list[int]]:
    """Padded length -> numbers of the prompts that get it, in order."""
    buckets: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        length = bucket_length(len(prompt), int(prompt[0] == bos), longest)
        buckets.setdefault(length, []).append(number)
    return buckets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """Of a device batch.

    Attributes:
        prompts: N.
        groups: M, decoded one after another.
        candidates: C.
        asked: candidates that were asked for, at most M * C.
        splits_candidates: the mesh splits candidates rather than prompts.
    """

    prompts: int
    groups: int
    candidates: int
    asked: int
    splits_candidates: bool

    def rows(self, ids_MNCG: np.ndarray, num_prompts: int) -> np.ndarray:
        """What was asked for of a batch's results: [num_prompts, asked, G]."""
        ids_NMCG = np.moveaxis(ids_MNCG, 0, 1)
        return ids_NMCG.reshape(self.prompts, -1, ids_MNCG.shape[-1])[:num_prompts, : self.asked]


def shape(num_prompts: int, num_candidates: int, batch_size: int, num_parts: int) -> Shape:
    """The shape for so many prompts of one bucket.

    As many candidates of a prompt at a time as `batch_size` allows, and as many prompts as are then
    asked for, up to a power of two, and as it allows.

    Args:
        num_prompts: of the bucket.
        num_candidates: of each.
        batch_size: rows (prompt x candidate) decoded at a time.
        num_parts: parts of the mesh that split rows; one prompt's candidates are split if they
            divide, else prompts are added.
    """
    groups = -(-num_candidates // batch_size)
    candidates = -(-num_candidates // groups)
    asked = 1 << (num_prompts - 1).bit_length()
    prompts = max(1, min(asked, batch_size // candidates))
    splits = prompts == 1 and num_parts > 1 and candidates % num_parts == 0
    if not splits:
        prompts = -(-prompts // num_parts) * num_parts
    return Shape(
        prompts=prompts,
        groups=groups,
        candidates=candidates,
        asked=num_candidates,
        splits_candidates=splits,
    )


class Batch(NamedTuple):
    """What a program is given beside parameters.

    Attributes:
        ids: int32 [N, L] prompts, padded behind.
        lengths: int32 [N], ids of each.
        candidates: int32 [M, N, C], their numbers.
        seeds: uint32 [N] of the prompts.
    """

    ids: jax.Array
    lengths: jax.Array
    candidates: jax.Array
    seeds: jax.Array


def fill(
    shape: Shape,
    length: int,
    prompts: Sequence[np.ndarray],
    candidates: np.ndarray,
    seeds: Sequence[int],
) -> Batch:
    """A batch of some prompts; what is missing repeats what is there.

    Args:
        shape: of the batch.
        length: L.
        prompts: ids of each, at most N of them.
        candidates: int [number of prompts, asked].
        seeds: of each prompt.
    """
    taken = np.resize(np.arange(len(prompts)), shape.prompts)
    ids_NL = np.zeros((shape.prompts, length), np.int32)
    for row, number in enumerate(taken):
        ids_NL[row, : len(prompts[number])] = prompts[number]
    columns = np.resize(np.arange(shape.asked), shape.groups * shape.candidates)
    numbers = candidates[np.ix_(taken, columns)].astype(np.int32)
    numbers = numbers.reshape(shape.prompts, shape.groups, shape.candidates)
    return Batch(
        ids=jnp.asarray(ids_NL),
        lengths=jnp.array([len(prompts[number]) for number in taken], jnp.int32),
        candidates=jnp.asarray(np.moveaxis(numbers, 1, 0)),
        seeds=jnp.array([seeds[number] for number in taken], jnp.uint32),
    )


class Segment(NamedTuple):
    """Steps of the decode loop that have room for so many added positions."""

    num_steps: int
    room: int


def segments(start: int, stop: int, total: int) -> tuple[Segment, ...]:
    """The loops that take rows from `start` added positions to `stop`, of `total` in the end.

    Each reads the room that it has, so that what is not filled yet is at most a segment.

    Args:
        start, stop: added positions of a row before the first step and after the last.
        total: after the last step of all parts.
    """
    width = SEGMENT
    if total > SEGMENT * MOST_SEGMENTS:
        width = -(-total // (MOST_SEGMENTS * 2 * SEGMENT)) * 2 * SEGMENT
    made = []
    while start < stop:
        room = min((start // width + 1) * width, total)
        made.append(Segment(min(stop, room) - start, room))
        start += made[-1].num_steps
    return tuple(made)
