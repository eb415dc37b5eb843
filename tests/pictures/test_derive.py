"""Derived annotations are pure and mean what they say."""

import numpy as np
import pytest

from lvm_jax.pictures import degrade, derive


def _picture(height=64, width=64, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


PARAMETERS = {
    derive.gray: {},
    derive.inpaint_hole: {"seed": 3, "mask_ratio": 0.3},
    derive.edges: {"sigma": 1.0, "gain": 4.0},
    degrade.blur: {"sigma": 1.5},
    degrade.noise: {"seed": 3, "deviation": 20.0},
    degrade.low_light: {"seed": 3, "stops": 3.0, "deviation": 2.0},
    degrade.rain: {"seed": 3, "density": 0.05, "angle": 20},
    degrade.rotate: {"degrees": 90},
    degrade.downscale: {"factor": 3.0},
}


@pytest.mark.parametrize("function", PARAMETERS)
def test_pure_and_leaves_its_input_alone(function):
    picture = _picture()
    before = picture.copy()
    first = function(picture, **PARAMETERS[function])
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(function(before, **PARAMETERS[function]), first)
    assert first.shape == picture.shape and first.dtype == np.uint8
    assert not np.shares_memory(first, picture)


def test_gray_is_luma():
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert derive.gray(colors)[0].tolist() == [[76] * 3, [150] * 3, [29] * 3, [255] * 3]


@pytest.mark.parametrize("hole", derive.HOLES)
@pytest.mark.parametrize("ratio", [0.05, 0.15, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(64, 64), (48, 96)])
def test_mask_ratio_is_the_share_of_black_pixels(hole, ratio, shape):
    picture = _picture(*shape)  # has no black pixel of its own
    shares = []
    for seed in range(4):
        holed = derive.inpaint_hole(picture, seed=seed, mask_ratio=ratio, hole=hole)
        black = (holed == 0).all(-1)
        np.testing.assert_array_equal(holed[~black], picture[~black])
        shares.append(black.mean())
    # A square is exact to half a column, patches to half a cell of the 16 x 16 grid.
    tolerance = 0.5 / 256 if hole == "patches" else 0.5 / min(shape)
    assert max(abs(share - ratio) for share in shares) <= tolerance


def test_holes_move_with_the_seed():
    picture = _picture()
    for hole in derive.HOLES:
        places = {
            derive.inpaint_hole(picture, seed=s, mask_ratio=0.2, hole=hole).tobytes()
            for s in range(10)
        }
        assert len(places) == 10


def test_golden_hole():
    holed = derive.inpaint_hole(np.full((8, 8, 3), 9, np.uint8), seed=1, mask_ratio=0.25)
    rows, columns = np.nonzero((holed == 0).all(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 6, 1, 4)


def test_edges_stand_at_contours_and_not_in_flat_regions():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = 255
    edges = derive.edges(picture)[..., 0]
    assert (edges[:, 15:17] == 255).all()
    assert edges[:, :8].max() == 0 and edges[:, -8:].max() == 0
    assert derive.edges(np.full((16, 16, 3), 77, np.uint8)).max() == 0
