"""Image references become pixels."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.pictures import derive
from lvm_jax.pictures.reference import Crop, ImageRef
from tests.toys import pixels_of


@pytest.fixture
def picture_path(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    images.write_image(tmp_path / "x.png", picture)
    return (tmp_path / "x.png").as_posix(), picture


def test_load_crops_resizes_flips_and_derives_in_this_order(picture_path):
    path, picture = picture_path
    crop = Crop(Crop.UNIT, 0, Crop.UNIT // 2)  # top right, half the short side
    ref = ImageRef(path=path, crop=crop)
    np.testing.assert_array_equal(pixels_of(ref, 20), picture[:20, 40:60])
    flipped = dataclasses.replace(ref, flip=True)
    np.testing.assert_array_equal(pixels_of(flipped, 20), picture[:20, 40:60][:, ::-1])
    gray = dataclasses.replace(flipped, derivation="gray")
    np.testing.assert_array_equal(pixels_of(gray, 20), derive.gray(pixels_of(flipped, 20)))
    assert pixels_of(ref, 7).shape == (7, 7, 3)
    np.testing.assert_array_equal(pixels_of(ImageRef(path=path), 40), picture[:, 10:50])


@pytest.mark.parametrize("height,width", [(1, 1), (3, 100), (100, 3), (511, 513)])
def test_every_crop_lies_inside(height, width):
    for left in (0, 1, Crop.UNIT // 3, Crop.UNIT):
        for side in (1, 7, Crop.UNIT // 2, Crop.UNIT):
            x, y, size = Crop(left, Crop.UNIT - left, side).box(height, width)
            assert 0 <= x <= x + size <= width and 0 <= y <= y + size <= height and size >= 1


def test_keys_tell_different_pixels_apart():
    base = ImageRef(path="a.png", crop=Crop(1, 2, 3))
    others = [
        base,
        dataclasses.replace(base, path="b.png"),
        dataclasses.replace(base, crop=None),
        dataclasses.replace(base, crop=Crop(1, 2, 4)),
        dataclasses.replace(base, flip=True),
        dataclasses.replace(base, derivation="gray"),
        dataclasses.replace(base, derivation="edges", parameters=(("sigma", 1.0),)),
        dataclasses.replace(base, derivation="edges", parameters=(("sigma", 2.0),)),
    ]
    assert len({ref.key for ref in others}) == len({hash(ref) for ref in others}) == len(others)


def test_an_unreadable_image_is_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(images.ImageError, match=r"bad\.png"):
        pixels_of(ImageRef(path=str(tmp_path / "bad.png")), 8)


def test_a_reference_needs_nothing_but_its_room():
    """Whoever reads references, such as a worker process, may never have seen a sentence."""
    code = """
import sys
from lvm_jax.pictures import loader
from lvm_jax.pictures.derivations import DERIVATIONS
assert {"gray", "edges", "inpaint_hole", "blur", "rain"} <= DERIVATIONS.keys()
assert not any(name.startswith("lvm_jax.sentences") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
