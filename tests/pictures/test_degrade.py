"""What spoils a picture does as much as it says, the same on every machine."""

import hashlib

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.pictures import degrade
from lvm_jax.sentences.kinds import KINDS
from tests.toys import pixels_of

FLAT = np.full((64, 64, 3), 128, np.uint8)


def picture(size=64):
    """Smooth, with every channel different."""
    y, x = np.mgrid[:size, :size] * 64 // size
    return np.stack([2 * x + y, 3 * y, 255 - 3 * x], -1).astype(np.uint8)


def digest(image):
    return hashlib.sha256(image.tobytes()).hexdigest()[:12]


GOLDENS = {
    "blur": ({"sigma": 1.7}, "7e135f9096e5"),
    "noise": ({"seed": 5, "deviation": 25.0}, "05b8cac12444"),
    "low_light": ({"seed": 5, "stops": 2.5, "deviation": 3.0}, "9b9b60285f69"),
    "rain": ({"seed": 5, "density": 0.06, "angle": -17}, "a85ab1be4ef9"),
    "rotate": ({"degrees": 33}, "4162166ae6eb"),
    "downscale": ({"factor": 3.7}, "112cc02fa8e9"),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_pixels(name):
    parameters, expected = GOLDENS[name]
    assert digest(getattr(degrade, name)(picture(), **parameters)) == expected


def test_blur_keeps_flat_pictures_and_spreads_a_point():
    np.testing.assert_array_equal(degrade.blur(FLAT, sigma=3.0), FLAT)
    point = np.zeros((63, 63, 3), np.uint8)
    point[31, 31] = 255
    for sigma in (0.8, 1.5):
        spread = degrade.blur(point, sigma=sigma)[..., 0].astype(float)
        assert spread.sum() == pytest.approx(255, rel=0.1)
        offsets = np.arange(63) - 31
        variance = (spread.sum(0) * offsets**2).sum() / spread.sum()
        assert variance == pytest.approx(sigma**2, rel=0.15)
    np.testing.assert_array_equal(degrade.blur(picture(), sigma=0.01), picture())


@pytest.mark.parametrize("deviation", [2.0, 10.0, 30.0])
def test_noise_has_the_deviation_given(deviation):
    errors = degrade.noise(FLAT, seed=1, deviation=deviation).astype(float) - 128
    # Rounding adds 1/12; 12288 numbers give the deviation to about 0.6%.
    assert errors.std() == pytest.approx(np.sqrt(deviation**2 + 1 / 12), rel=0.03)
    assert abs(errors.mean()) < 4 * deviation / np.sqrt(errors.size)
    assert abs(np.corrcoef(errors[..., 0].flat, errors[..., 1].flat)[0, 1]) < 0.06
    other = degrade.noise(FLAT, seed=2, deviation=deviation).astype(float) - 128
    assert abs(np.corrcoef(errors.flat, other.flat)[0, 1]) < 0.04


def test_low_light_halves_the_light_at_every_stop():
    for stops in (1.0, 2.0, 3.5):
        dark = degrade.low_light(FLAT, seed=1, stops=stops, deviation=0.0)
        light = (dark[0, 0, 0] / 128) ** 2.2
        assert light == pytest.approx(2**-stops, rel=0.04)


def test_rain_only_brightens_and_gets_denser():
    covers = []
    for density in (0.02, 0.1, 0.3):
        wet = degrade.rain(picture(), seed=1, density=density, angle=15).astype(int)
        assert (wet >= picture()).all()
        covers.append((wet != picture()).any(-1).mean())
    assert 0.01 < covers[0] < 0.1 and covers[0] < covers[1] < covers[2]


def test_quarter_turns_are_exact_and_any_turn_can_be_undone():
    whole = picture()
    for turns in (1, 2, 3):
        turned = degrade.rotate(whole, degrees=90 * turns)
        np.testing.assert_array_equal(turned, np.rot90(whole, turns))
    there = degrade.rotate(whole, degrees=25)
    assert (there[0, 0] == 0).all() and (there[32, 32] > 0).all()
    back = degrade.rotate(there, degrees=-25).astype(int)
    assert np.abs(back - whole)[20:44, 20:44].max() <= 4
    # Counter-clockwise, as a quarter turn: nearly 90 degrees is nearly one.
    nearly = degrade.rotate(whole, degrees=89).astype(int)
    assert np.abs(nearly - np.rot90(whole))[20:44, 20:44].max() <= 8


def test_downscaling_loses_what_is_smaller_than_the_factor():
    np.testing.assert_array_equal(degrade.downscale(FLAT, factor=3.3), FLAT)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 254
    assert np.abs(degrade.downscale(stripes, factor=2.0).astype(int) - 127).max() <= 1
    smooth = degrade.downscale(picture(), factor=4.0).astype(int)
    assert np.abs(smooth - picture())[4:-4, 4:-4].max() <= 3


@pytest.mark.parametrize(
    "kind,field,expected",
    [
        ("blur", "sigma", (1.0, 4.0)),
        ("noise", "deviation", (15.0, 60.0)),
        ("low_light", "stops", (1.5, 4.0)),
        ("rain", "density", (0.03, 0.15)),
        ("downscaling", "factor", (2.0, 8.0)),
    ],
)
def test_strengths_are_drawn_from_their_range(kind, field, expected, tmp_path):
    images.write_image(tmp_path / "a.png", picture(32))
    values = {"folder": str(tmp_path), "pairs_per_sentence": 4, "sentences_per_epoch": 100}

    def strengths(**more):
        source = KINDS[kind](**values, **more)
        assert getattr(source, field) == more.get(field, expected)
        rows = [source.sentence(0, 0, i).images for i in range(100)]
        assert all(not clean.derivation for row in rows for clean in row[1::2])
        return [[dict(ref.parameters)[field] for ref in row[::2]] for row in rows]

    drawn = np.array(strengths())
    low, high = expected
    assert low <= drawn.min() < low + (high - low) / 20
    assert high - (high - low) / 20 < drawn.max() <= high
    assert all(len(set(row)) > 1 for row in drawn.tolist())
    same = np.array(strengths(same_strength=True))
    assert all(len(set(row)) == 1 for row in same.tolist()) and len(set(same[:, 0])) > 50
    middle = (low + high) / 2
    assert set(np.array(strengths(**{field: (middle, middle)})).flat) == {middle}
    with pytest.raises(ValueError, match=rf"^{field}=\({high}, {low}\) must be"):
        KINDS[kind](folder="x", **{field: (high, low)})
    spoiled, clean = KINDS[kind](**values).sentence(0, 0, 0).images[:2]
    assert (pixels_of(spoiled, 32) != pixels_of(clean, 32)).any()


def test_angles(tmp_path):
    images.write_image(tmp_path / "a.png", picture(32))
    source = KINDS["rotation"](folder=str(tmp_path), pairs_per_sentence=2, angles=(90, 40))
    turned, upright = source.sentence(0, 0, 0).images[:2]
    angles = {source.sentence(0, 0, i).images[0].parameters for i in range(20)}
    assert angles == {(("degrees", 90),), (("degrees", 40),)}
    degrees = dict(turned.parameters)["degrees"]
    np.testing.assert_array_equal(
        pixels_of(turned, 32), degrade.rotate(pixels_of(upright, 32), degrees=degrees)
    )
    same = KINDS["rotation"](folder=str(tmp_path), same_strength=True)
    for index in range(10):
        assert len({ref.parameters for ref in same.sentence(0, 0, index).images[::2]}) == 1
    with pytest.raises(ValueError, match=r"^angles=\(90, 360\)"):
        KINDS["rotation"](folder="x", angles=(90, 360))


@pytest.mark.parametrize(
    "kind,values",
    [("rain", {"steepest": 80}), ("low_light", {"sensor_noise": -1.0})],
)
def test_bad_values_name_their_key(kind, values):
    with pytest.raises(ValueError, match=rf"^{next(iter(values))}="):
        KINDS[kind](folder="x", **values)
