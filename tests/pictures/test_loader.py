"""What an image config says holds for every way in which a reference is read."""

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.frames import frame_readers
from lvm_jax.pictures import palette
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pictures.reference import Crop, ImageRef
from tests.toys import pixels_of

RED = (255, 0, 0)


def loader(**values):
    return SquareLoader(images.ImageConfig(**values), 8, 2**20)


def transparent_animation(path):
    first, *rest = [
        PIL.Image.fromarray(np.full((16, 16, 4), (9, 9, number, 0), np.uint8))
        for number in range(3)
    ]
    first.save(path, save_all=True, append_images=rest, lossless=True, exact=True)
    return str(path)


def label_map(path):
    PIL.Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16) % 4).save(path)
    return str(path)


def test_frames_lie_on_the_background_of_the_config(tmp_path):
    ref = ImageRef(path=transparent_animation(tmp_path / "a.webp"), frame=2)
    np.testing.assert_array_equal(loader(background=RED).load([ref])[0][0, 0], RED)
    np.testing.assert_array_equal(loader().load([ref])[0], 255)


def test_frames_and_label_maps_keep_to_the_pixel_limit(tmp_path):
    frame = ImageRef(path=transparent_animation(tmp_path / "a.webp"), frame=1)
    labels = ImageRef(path=label_map(tmp_path / "b.png"), labels=(4, -1))
    for ref in (frame, labels):
        (error,) = loader(max_pixels=255).load([ref])
        assert isinstance(error, images.ImageError)
        assert f"{ref.path} has 16x16 pixels, more than 255" in str(error)
        (shown,) = loader(max_pixels=256).load([ref])
        assert shown.shape == (8, 8, 3)


def test_a_video_keeps_to_the_pixel_limit(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode())
    with pytest.raises(images.ImageError, match=r"a\.mp4 has 32x16 pixels, more than 511"):
        frame_readers.read_frame(tmp_path / "a.mp4", 0, max_pixels=511)


def test_many_squares_of_a_label_map_decode_it_once(tmp_path, monkeypatch):
    path = label_map(tmp_path / "b.png")
    refs = [
        ImageRef(path=path, labels=(4, -1), crop=Crop(x, 0, 2**15)) for x in range(0, 2**16, 9999)
    ]
    # The numbers of one file as other labels, and as a picture, are other pictures.
    refs += [ImageRef(path=path, labels=(4, 3)), ImageRef(path=path)]
    expected = [pixels_of(ref, 8) for ref in refs]
    read, calls = palette.read_labels, []
    monkeypatch.setattr(palette, "read_labels", lambda *args: calls.append(args) or read(*args))
    made = loader()
    for ref, pixels in zip(refs, expected):
        np.testing.assert_array_equal(made.load([ref])[0], pixels)
    assert len(calls) == 2


def test_an_animation_that_is_a_decompression_bomb_is_one_line(tmp_path, monkeypatch):
    path = transparent_animation(tmp_path / "a.webp")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    assert not frame_readers.holds_frames(path)
    for read in (frame_readers.count_frames, lambda path: frame_readers.read_frame(path, 0)):
        with pytest.raises(images.ImageError, match=r"video .*a\.webp has more than"):
            read(path)


@pytest.mark.parametrize("name,resize", images.RESIZES.items())
def test_a_file_is_a_reference_that_is_resized_as_the_config_says(name, resize, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "a.jpg", quality=95)
    whole = images.read_image(tmp_path / "a.jpg")
    for path in (tmp_path / "a.jpg", str(tmp_path / "a.jpg")):
        pixels = loader(resize=name, reduced_jpeg=False).load_file(path)
        np.testing.assert_array_equal(pixels, resize(whole, 8))
    with pytest.raises(images.ImageError, match=r"none\.jpg does not exist"):
        loader().load_file(tmp_path / "none.jpg")


def test_pixels_do_not_depend_on_what_is_kept(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "a.jpg")
    sides = np.random.default_rng(1).integers(1, Crop.UNIT, 20).tolist()
    refs = [ImageRef(path=str(tmp_path / "a.jpg"), crop=Crop(9, 9, side)) for side in sides]
    expected = [SquareLoader(images.ImageConfig(), 8).load_one(ref) for ref in refs]
    for cache_bytes in (0, 1, 2**20):
        made = SquareLoader(images.ImageConfig(), 8, cache_bytes)
        np.testing.assert_array_equal([made.load_one(ref) for ref in refs], expected)
