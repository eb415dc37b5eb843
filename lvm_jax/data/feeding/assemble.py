"""Pieces of sentences -> the arrays of batches, without touching single ids in Python.

In two steps, since what lies between them is a tenth of the bytes: that is what processes send.

Legend: B rows of a batch or of several, L the context, N = L + 1 ids of a row, P pieces (sentences
or parts of them) of these rows, X spans: the pieces and, after each row's pieces, its padding.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from lvm_jax.data.feeding.data_config import Packing
from lvm_jax.data.feeding.rows import Pieces
from lvm_jax.data.shards.records import ID_BYTES
from lvm_jax.vocabulary import Vocabulary

Arrays = dict[str, np.ndarray]
PADDING = -1  # in place of a kind


def pack(
    pieces: Pieces,
    datas_P: Sequence[bytes],
    kinds_P: np.ndarray,
    vocabulary: Vocabulary,
    row_length: int,
) -> Arrays:
    """Whole rows in few bytes.

    Args:
        pieces: what the rows hold.
        datas_P: the record of each piece's sentence; its ids come last.
        kinds_P: int16 [P], the kind of each piece's sentence.
        vocabulary: gives BOS, EOS and PAD.
        row_length: N.

    Returns:
        ids: uint16 [B, N].
        counts: int64 [B], pieces of each row.
        pieces: int64 [2, P], ids and kind of each piece. In one array, since each costs a process
            that sends it some memory of its own.
    """
    return {
        "ids": _gather_ids(pieces, datas_P, vocabulary, row_length),
        "counts": pieces.counts,
        "pieces": np.stack([pieces.takes, kinds_P]),
    }


def unpack(packed: Arrays, packing: Packing) -> Arrays:
    """What a model is given of whole rows.

    Args:
        packed: see `pack`; nothing of it is kept.
        packing: how the rows were made.

    Returns:
        See `pipeline.Pipeline.batch`.
    """
    ids_BN = packed["ids"]
    takes_P, kinds_P = packed["pieces"]
    return {
        "inputs": ids_BN[:, :-1].astype(np.int32),
        "targets": ids_BN[:, 1:].astype(np.int32),
        **_LAYOUTS[packing](
            packed["counts"], takes_P, kinds_P.astype(np.int16), ids_BN.shape[1] - 1
        ),
    }


def split(packed: Arrays, num_rows: int) -> Iterator[Arrays]:
    """Packed rows in parts of `num_rows` rows; see `pack`."""
    ids_BN, counts_B, pieces_2P = (packed[key] for key in ("ids", "counts", "pieces"))
    ends_B = np.cumsum(counts_B)
    for row in range(0, len(ids_BN), num_rows):
        rows = slice(row, row + num_rows)
        first, last = ends_B[row] - counts_B[row], ends_B[rows][-1]
        yield {
            "ids": ids_BN[rows],
            "counts": counts_B[rows],
            "pieces": pieces_2P[:, first:last],
        }


def _gather_ids(
    pieces: Pieces, datas_P: Sequence[bytes], vocabulary: Vocabulary, row_length: int
) -> np.ndarray:
    bos, eos, pad = (
        np.array(special, "<u2").tobytes()
        for special in (vocabulary.bos, vocabulary.eos, vocabulary.pad)
    )
    pads_P = np.zeros_like(pieces.takes)
    pads_P[np.cumsum(pieces.counts) - 1] = _row_pads(pieces.counts, pieces.takes, row_length)
    # Bytes from the end of a record to the codes of the unit, and to what follows them.
    begins_P = (pieces.totals - pieces.firsts) * ID_BYTES
    rests_P = begins_P - pieces.codes * ID_BYTES
    columns = (begins_P, rests_P, pieces.skips * ID_BYTES, pieces.takes * ID_BYTES, pads_P)
    parts: list[bytes] = []
    # One turn for each sentence. To copy its bytes takes no longer than a view of them.
    for data, begin, rest, skip, take, padding in zip(datas_P, *(c.tolist() for c in columns)):
        body = data[len(data) - begin : len(data) - rest]
        if skip == 0 and take == len(body) + 2 * ID_BYTES:
            parts += (bos, body, eos)
        else:
            parts.append(b"".join((bos, body, eos))[skip : skip + take])
        if padding:
            parts.append(pad * padding)
    return np.frombuffer(b"".join(parts), "<u2").reshape(-1, row_length)


def _row_pads(counts_B: np.ndarray, takes_P: np.ndarray, row_length: int) -> np.ndarray:
    """Ids of padding that end each row: int64 [B]."""
    return row_length - np.add.reduceat(takes_P, np.cumsum(counts_B) - counts_B)


def _sentence_layout(
    counts_B: np.ndarray, takes_P: np.ndarray, kinds_P: np.ndarray, context: int
) -> Arrays:
    """What `pipeline.Pipeline.batch` gives beside ids, of whole sentences."""
    num_rows, num_pieces = len(counts_B), len(takes_P)
    pads_B = _row_pads(counts_B, takes_P, context + 1)
    ends_B = np.cumsum(counts_B)
    pads = ends_B + np.arange(num_rows)  # places of the padding among the spans
    is_piece_X = np.ones(num_pieces + num_rows, bool)
    is_piece_X[pads] = False
    lengths_X = np.empty(len(is_piece_X), np.int64)
    lengths_X[is_piece_X] = takes_P
    lengths_X[pads] = pads_B
    # Inputs lack the last id of the row: of the padding, or of the last piece of a full row.
    full_B = pads_B == 0
    lengths_X[pads - full_B] -= 1
    stops_X = np.cumsum(lengths_X)
    segments_X = np.zeros(len(is_piece_X), np.int32)
    segments_X[is_piece_X] = np.arange(1, num_pieces + 1) - np.repeat(ends_B - counts_B, counts_B)
    starts_X = (stops_X - lengths_X).astype(np.int32)
    kinds_X = np.full(len(is_piece_X), PADDING, kinds_P.dtype)
    kinds_X[is_piece_X] = kinds_P
    positions = np.arange(num_rows * context, dtype=np.int32) - np.repeat(starts_X, lengths_X)
    weights = np.repeat(is_piece_X.astype(np.float32), lengths_X)
    # What follows the last id of a sentence is no business of that sentence.
    seam_X = is_piece_X.copy()
    seam_X[(pads - 1)[full_B]] = False
    weights[stops_X[seam_X] - 1] = 0
    return {
        "segments": np.repeat(segments_X, lengths_X).reshape(num_rows, context),
        "positions": positions.reshape(num_rows, context),
        "weights": weights.reshape(num_rows, context),
        "kinds": np.repeat(kinds_X, lengths_X).reshape(num_rows, context),
    }


def _stream_layout(
    counts_B: np.ndarray, takes_P: np.ndarray, kinds_P: np.ndarray, context: int
) -> Arrays:
    """The same for rows cut from the stream: one segment a row, as in the paper."""
    pads_B, ends_B = _row_pads(counts_B, takes_P, context + 1), np.cumsum(counts_B)
    used_B1 = context + 1 - pads_B[:, None]
    lengths_X = np.insert(takes_P, ends_B, pads_B)
    # Targets lack the first id of the row.
    lengths_X[ends_B - counts_B + np.arange(len(counts_B))] -= 1
    place_L = np.arange(context, dtype=np.int32)
    return {
        "segments": (place_L < used_B1).astype(np.int32),
        "positions": np.repeat(place_L[None], len(used_B1), axis=0),
        "weights": (place_L + 1 < used_B1).astype(np.float32),
        "kinds": np.repeat(np.insert(kinds_P, ends_B, PADDING), lengths_X).reshape(-1, context),
    }


_LAYOUTS = {"sentence": _sentence_layout, "stream": _stream_layout}
