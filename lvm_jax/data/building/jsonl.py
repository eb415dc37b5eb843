"""LVM's own format, line by line: {"tokens": base64 of little-endian int32 ids}.

Legend: N images of a line, T ids per image.
"""

import base64
import binascii
import json
import os
from collections.abc import Callable

import numpy as np

from lvm_jax import atomic
from lvm_jax.data.shards.reader import Shards

_EXPORTED_TOGETHER = 256


def parse_line(line: bytes, tokens_per_image: int, num_codes: int) -> np.ndarray:
    """The ids of a line: uint16 [N, T].

    Raises:
        ValueError: says what is wrong with it.
    """
    try:
        text = json.loads(line)["tokens"]
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        reasons = {KeyError: "no key 'tokens'", RecursionError: "nested too deeply"}
        reason = reasons.get(type(error), error)
        raise ValueError(f'not of the form {{"tokens": base64}}: {reason}') from error
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes are not whole int32 ids")
    ids = np.frombuffer(data, "<i4")
    if not len(ids) or len(ids) % tokens_per_image:
        raise ValueError(f"{len(ids)} ids are not a multiple of {tokens_per_image} per image")
    if ids.min() < 0 or ids.max() >= num_codes:
        raise ValueError(f"ids {ids.min()}..{ids.max()} are not codes 0..{num_codes - 1}")
    if len(ids) // tokens_per_image > 0xFFFF:
        raise ValueError(f"{len(ids)} ids are more than {0xFFFF} images")
    return ids.astype("<u2").reshape(-1, tokens_per_image)


def export_jsonl(
    shards: Shards,
    path: str | os.PathLike,
    progress: Callable[[int], None] = lambda sentences: None,
) -> None:
    """Writes shards as LVM's JSON lines; the inverse of `from_lines.import_jsonl`, to the byte.

    Args:
        shards: the sentences.
        path: the file, which appears only when whole.
        progress: called with the number of sentences that were written.

    Raises:
        RuntimeError: the file cannot be written.
    """
    with atomic.writing(path) as partial, open(partial, "wb") as file:
        for start in range(0, len(shards), _EXPORTED_TOGETHER):
            part = np.arange(start, min(start + _EXPORTED_TOGETHER, len(shards)))
            file.write(b"".join(_line(ids) for ids in shards.read(part)))
            progress(len(part))


def _line(ids: np.ndarray) -> bytes:
    return b'{"tokens": "%s"}\n' % base64.b64encode(ids.astype("<i4").tobytes())
