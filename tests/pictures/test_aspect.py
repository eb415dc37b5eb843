"""A picture and its annotation must have one shape; scales may differ."""

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences.kinds import KINDS
from tests.toys import pixels_of

SIDEWAYS = PIL.Image.Exif()
SIDEWAYS[0x0112] = 6


def save(path, width, height, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new(mode, (width, height)).save(path, **options)


def source(kind, root, **values):
    folders = {"label_map": "label_folder", "multi_annotation": "annotation_folders"}
    field = folders.get(kind, "annotation_folder")
    other = str(root / "other")
    more = {
        "label_map": {"num_labels": 2, "pairs_per_sentence": 1},
        "annotation": {"pairs_per_sentence": 1},
        "annotated_video": {"frames_per_sentence": 2, "strides": (1,)},
        "multi_annotation": {"most_images": 2},
    }
    values = {field: (other,) if field.endswith("s") else other} | more[kind] | values
    return KINDS[kind](folder=str(root / "images"), **values)


@pytest.mark.parametrize("kind", ["annotation", "label_map", "annotated_video", "multi_annotation"])
def test_another_shape_is_named_with_both_sizes(kind, tmp_path):
    mode = "L" if kind == "label_map" else "RGB"
    for name in ("clip/1", "clip/2"):
        save(tmp_path / f"images/{name}.png", 120, 60)
        save(tmp_path / f"other/{name}.png", 50, 100, mode)
    made = source(kind, tmp_path, crop=(0.5, 1.0))
    refs = made.sentence(0, 0, 0).images
    bad = [ref for ref in refs if "/other/" in ref.path]
    assert bad
    for ref in refs:
        if ref not in bad:
            pixels_of(ref, 16)
            continue
        with pytest.raises(images.ImageError) as caught:
            pixels_of(ref, 16)
        message = str(caught.value)
        for part in (f"{ref.path} has 50x100", f"{ref.annotates} has 120x60", "exclude"):
            assert part in message
        assert "\n" not in message and ref.annotates == ref.path.replace("/other/", "/images/")
        # What builds shards lists it as it lists files that cannot be read.
        config = images.ImageConfig()
        (error,) = SquareLoader(config, 16, 2**20).load([ref])
        assert str(error) == message


@pytest.mark.parametrize("size", [(120, 60), (240, 120), (61, 30), (15, 7), (1200, 601)])
def test_another_scale_is_fine(size, tmp_path):
    save(tmp_path / "images/a.png", 120, 60)
    save(tmp_path / "other/a.png", *size)
    for ref in source("annotation", tmp_path, crop=(0.5, 1.0)).sentence(0, 0, 0).images:
        pixels_of(ref, 16)


def test_whole_pictures_that_are_squashed_may_have_any_shape(tmp_path):
    save(tmp_path / "images/a.png", 120, 60)
    save(tmp_path / "other/a.png", 64, 64)
    loader = SquareLoader(images.ImageConfig(resize="squash"), 16, 2**20)
    _, ref = source("annotation", tmp_path).sentence(0, 0, 0).images
    assert isinstance(loader.load([ref])[0], np.ndarray)
    _, ref = source("annotation", tmp_path, crop=(0.5, 0.9)).sentence(0, 0, 0).images
    assert isinstance(loader.load([ref])[0], images.ImageError)


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp"])
def test_photographs_that_lie_on_their_side(extension, tmp_path):
    save(tmp_path / f"images/a.{extension}", 120, 60, exif=SIDEWAYS)
    save(tmp_path / "other/a.png", 60, 120, "L")  # made from what is seen
    for kind in ("annotation", "label_map"):
        for ref in source(kind, tmp_path).sentence(0, 0, 0).images:
            pixels_of(ref, 16)
    save(tmp_path / "other/a.png", 120, 60, "L")  # made from what is stored
    for kind in ("annotation", "label_map"):
        _, ref = source(kind, tmp_path).sentence(0, 0, 0).images
        with pytest.raises(images.ImageError, match=r"a\.png has 120x60 .* has 60x120, which is"):
            pixels_of(ref, 16)


def test_a_video_and_its_annotations(tmp_path):
    av = pytest.importorskip("av")
    (tmp_path / "images").mkdir()
    with av.open(str(tmp_path / "images/a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for width, fits in ((64, True), (32, False)):
        for number in range(2):
            save(tmp_path / f"other/a/{number}.png", width, 32)
        refs = source("annotated_video", tmp_path, layout="split").sentence(0, 0, 0).images
        for ref in refs[2:]:
            if fits:
                pixels_of(ref, 16)
            else:
                with pytest.raises(images.ImageError, match=r"32x32 .*a\.mp4 has 64x32"):
                    pixels_of(ref, 16)


def test_a_picture_that_cannot_be_read_is_named_once(tmp_path):
    save(tmp_path / "other/a.png", 50, 100)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"no picture")
    picture, annotation = source("annotation", tmp_path).sentence(0, 0, 0).images
    pixels_of(annotation, 16)
    with pytest.raises(images.ImageError, match="cannot read image"):
        pixels_of(picture, 16)
