"""Maps between formats: views of one memory, with every number in its place."""

import numpy as np
import pytest

from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.model.weights import formats

CONFIG = PRESETS["debug"]
ROWS = CONFIG.vocabulary.size
PIECES = formats.pieces(CONFIG)


@pytest.mark.parametrize("format", formats.FORMATS)
def test_every_piece_has_a_name_of_its_own_and_the_size_that_its_shape_says(format):
    names = [formats.name_of(format, piece) for piece in PIECES]
    assert len(set(names)) == len(names)
    for piece in PIECES:
        ours = np.arange(np.prod(piece.shape)).reshape(piece.shape)
        view = formats.as_theirs(format, piece, ours, ROWS)
        assert np.shares_memory(view, ours)
        shape = formats.shape_of(format, piece, ROWS)
        theirs = view.reshape(shape)
        assert len(view) == shape[0]
        assert len(np.unique(theirs)) == theirs.size


def test_the_sizes_of_all_pieces_are_the_networks():
    sizes = [np.prod(formats.shape_of("hf", piece, ROWS)) for piece in PIECES]
    assert sum(sizes) == CONFIG.num_parameters


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_rotary_pairs_move_as_the_two_projects_say(name):
    """HF's W = EasyLM's W.reshape(H, K/2, 2, D) with its middle dims exchanged; q and k alone."""
    piece = next(p for p in PIECES if p.name == f"layers/attention/{name}/kernel")
    ours = np.random.default_rng(0).standard_normal(piece.shape)
    hf = formats.as_theirs("hf", piece, ours, ROWS)
    easylm = formats.as_theirs("easylm", piece, ours, ROWS)
    easylm = easylm.reshape(formats.shape_of("easylm", piece, ROWS)).T
    if name != "value":
        hidden, heads, head_dim = piece.shape
        paired = easylm.reshape(heads, head_dim // 2, 2, hidden)
        easylm = paired.transpose(0, 2, 1, 3).reshape(heads * head_dim, hidden)
    np.testing.assert_array_equal(hf, easylm)
