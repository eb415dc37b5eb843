"""Which files of folders are pictures, clips or neither."""

import logging
import os
import pathlib

import numpy as np
import PIL.features
import PIL.Image
import pytest

from lvm_jax import file_kinds, image_folders

PICTURE = PIL.Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
SIDECARS = {
    "notes.txt": b"P1 is not a picture here, although it begins like one",
    "a.json": b"{}",
    "a.xml": b"<annotation/>",
    "a.npy": b"\x93NUMPY\x01\0",
    "a.pdf": b"%PDF-1.7 ",
    "a.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "drawing": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "model.grb": b"GRIB\0\0\0\1",
    "hdf": b"\x89HDF\r\n\x1a\n",
    "film.mpg": b"\0\0\x01\xb3\x10\0\x10\0",
    "raw.rgb": bytes(300),
    "README": b"The wide and free moov ftyp of text",
    "numbers": np.arange(20, dtype="<i2").tobytes(),  # begins like a TGA, but ends too early
    "numbers.bin": np.arange(99, dtype="<i4").tobytes(),
    "a.png.partial": b"\x89PNG\r\n\x1a\n",
    "a.jpg_original": b"P5 1 1 255 \0",  # what exiftool keeps
    "a.pgm~": b"P5 1 1 255 \0",
    "a.tif.ovr": b"P5 1 1 255 \0",  # a smaller copy, as maps have
    "nothing": b"",
}


def names(folder):
    return [path.relative_to(folder).as_posix() for path in image_folders.list_images(folder)]


def test_the_list_is_sorted_recursive_and_skips_hidden_files(tmp_path):
    for name in ("b.PNG", "a/z.png", "a/c.jpg", "notes.txt", ".hidden.png", ".cache/x.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path) == ["a/c.jpg", "a/z.png", "b.PNG"]


def test_a_bad_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("")
    for name, words in (
        ("missing", "does not exist"),
        ("file", "is not a folder"),
        ("empty", "holds no images; give"),
        ("texts", r"holds no images \(passed over 1 .txt\); give"),
    ):
        with pytest.raises(ValueError, match=f"{name} {words}"):
            image_folders.list_images(tmp_path / name)


FORMATS = {
    "a.jpg": "JPEG",
    "c.jp2": "JPEG2000",
    "d.tga": "TGA",
    "e.J2K": "JPEG2000",
    "f.ico": "ICO",
}
FORMATS |= {"g.mpo": "MPO", "h.pcx": "PCX", "i.sgi": "SGI", "j.dds": "DDS", "k.qoi": "QOI"}
FORMATS |= {"l.apng": "PNG", "m.rgb": "SGI", "n.jpg?w=100": "JPEG", "o.v2": "WEBP", "p": "PNG"}
FORMATS |= {"q": "TGA", "r": "TIFF", "s": "JPEG2000", "sa": "MPO"}


def test_what_pillow_reads_is_read_and_the_rest_counted(tmp_path, caplog):
    for name, image_format in FORMATS.items():
        PICTURE.save(tmp_path / name, format=image_format)
    expected = list(FORMATS)
    if PIL.features.check("avif"):
        for name in ("t.avif", "u"):
            PICTURE.save(tmp_path / name, format="AVIF")
            expected.append(name)
    for name, data in SIDECARS.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b.txt").write_text("")
    os.mkfifo(tmp_path / "pipe")  # whoever opened it would wait for ever
    (tmp_path / "lost").symlink_to(tmp_path / "no")
    with caplog.at_level(logging.INFO, logger="absl"):
        assert names(tmp_path) == sorted(expected)
        image_folders.list_images(tmp_path)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith(f"{tmp_path}: passed over 7 without extension, 2 .txt, 1 .bin, 1 .eps,")
    assert "1 .partial" in line and line.endswith("1 .pdf, 3 others")


def test_files_of_known_extensions_are_not_opened(tmp_path, monkeypatch):
    for name in ("a.jpg", "b.avif", "c.txt", "d.npy", "e.mp4"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(file_kinds, "_looks_like", None)
    assert names(tmp_path) == ["a.jpg", "b.avif"]


def test_many_extensions_are_summed_up(tmp_path, caplog):
    for number in range(30):
        (tmp_path / f"a.{number}").write_bytes(b"no picture")
    PICTURE.save(tmp_path / "a.png")
    with caplog.at_level(logging.INFO, logger="absl"):
        image_folders.list_images(tmp_path)
    assert caplog.text.count(", ") == 12 and "18 others" in caplog.text


VIDEOS = {
    "mp4": b"\0\0\0\x20ftypisom",
    "mov": b"\0\0\0\x08wide\0\1\0\0mdat",
    "webm": b"\x1a\x45\xdf\xa3\x01",
    "avi": b"RIFF\0\1\0\0AVI LIST",
    "ts": (b"G\x40\0\x10" + bytes(184)) * 3,
    "m2ts": (bytes(4) + b"G\x40\0\x10" + bytes(184)) * 3,
    "y4m": b"YUV4MPEG2 W8 H8\n",
}
NO_VIDEOS = {
    "heic": b"\0\0\0\x20ftypheic",
    "m4a": b"\0\0\0\x20ftypM4A ",
    "b.m4a": b"\0\0\0\x20ftypisom",
    "c.mka": b"\x1a\x45\xdf\xa3\x01",
    "wav": b"RIFF\0\1\0\0WAVEfmt ",
    "text": b"The wide world" + b"G" * 600,
}


def test_videos_are_known_by_extension_or_content(tmp_path):
    for name, data in {**VIDEOS, **NO_VIDEOS, "image.png": VIDEOS["mp4"]}.items():
        (tmp_path / name).write_bytes(data)
    assert {name for name in os.listdir(tmp_path) if file_kinds.is_video(tmp_path / name)} == {
        *VIDEOS
    }
    assert file_kinds.is_video("a.MTS") and not file_kinds.is_video("a.jpg")
    assert not any(file_kinds.is_image(tmp_path / name) for name in (*VIDEOS, *NO_VIDEOS))


def test_a_file_is_looked_at_again_when_it_changed(tmp_path):
    path = pathlib.Path(tmp_path, "a")
    path.write_bytes(b"no picture")
    assert not file_kinds.is_image(path)
    PICTURE.save(path, format="PNG")
    assert file_kinds.is_image(path)


def test_unknown_extensions_belong_to_the_name():
    for name, stem in {
        "a/b.PNG": "a/b", "a.b.jpeg": "a.b", "a.2024": "a.2024", "x.d/y": "x.d/y", "v.MP4": "v",
        "a..png": "a.", "-a.tif": "-a",
    }.items():  # fmt: skip
        assert file_kinds.without_extension(name) == stem
