"""Colors of labels, and back."""

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.pictures import palette


@pytest.mark.parametrize("num_labels", [1, 2, 9, 22, 81, 134, 183, 256, 1000])
def test_decode_undoes_encode_and_small_noise(num_labels):
    rng = np.random.default_rng(num_labels)
    labels = rng.integers(0, num_labels, (64, 48))
    labels.flat[:num_labels] = np.arange(num_labels)[: labels.size]
    colors = palette.encode(labels, num_labels)
    assert colors.shape == (64, 48, 3) and colors.dtype == np.uint8
    np.testing.assert_array_equal(palette.decode(colors, num_labels), labels)
    # The largest whole number that moves no color by the margin or more.
    step = int(np.ceil(palette.margin(num_labels) / np.sqrt(3))) - 1
    assert step >= 8
    noisy = np.clip(colors + rng.integers(-step, step + 1, colors.shape), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(palette.decode(noisy, num_labels), labels)


def test_colors_differ_by_twice_the_margin():
    for num_labels in (5, 22, 100, 300):
        colors = palette.colors(num_labels).astype(int)
        distances = np.sqrt(((colors[:, None] - colors) ** 2).sum(-1))
        distances[np.diag_indices(num_labels)] = np.inf
        assert distances.min() >= 2 * palette.margin(num_labels)
        assert colors[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("num_colors", [1, 7, 300])
def test_the_first_of_the_nearest_colors_is_taken(num_colors):
    rng = np.random.default_rng(num_colors)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    table = rng.integers(0, 256, (num_colors, 3), dtype=np.uint8)
    table = np.concatenate([table, table[::-1]])  # every color twice
    distances = ((image[:, :, None].astype(int) - table.astype(int)) ** 2).sum(-1)
    np.testing.assert_array_equal(palette.nearest(image, table), distances.argmin(-1))


def test_golden_colors():
    # Written down once: shards and models depend on them.
    assert palette.colors(22)[[1, 2, 3, 21]].tolist() == GOLDEN


GOLDEN = [[255, 255, 255], [0, 128, 255], [128, 255, 0], [255, 0, 0]]


@pytest.mark.parametrize("labels", [[[3]], [[-1]]])
def test_labels_beyond_the_palette_are_refused(labels):
    with pytest.raises(ValueError, match=r"do not lie in 0\.\.2"):
        palette.encode(np.array(labels), 3)


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_label_maps_are_read_by_number(mode, tmp_path):
    labels = np.array([[0, 1, 20], [255, 2, 3]])
    image = PIL.Image.fromarray(labels.astype(np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    image.save(tmp_path / "x.png")
    expected = np.where(labels == 255, 0, labels)
    np.testing.assert_array_equal(palette.read_labels(tmp_path / "x.png", 21, 255), expected)
    with pytest.raises(
        images.ImageError, match=r"x\.png holds labels up to 255, but num_labels=21"
    ):
        palette.read_labels(tmp_path / "x.png", 21)


def test_color_images_and_no_images_are_refused(tmp_path):
    images.write_image(tmp_path / "rgb.png", np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(images.ImageError, match=r"rgb\.png is a RGB image"):
        palette.read_labels(tmp_path / "rgb.png", 4)
    with pytest.raises(images.ImageError, match=r"cannot read label map .*no\.png"):
        palette.read_labels(tmp_path / "no.png", 4)


@pytest.mark.parametrize("number", [1, 2, 3, 8, 81, 4095])
def test_lines_are_never_white(number):
    colors = palette.line_colors(number)
    assert colors.shape == (number, 3) and len(np.unique(colors, axis=0)) == number
    assert (colors[0] == 0).all() and (colors < 255).any(1).all()
