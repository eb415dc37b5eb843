"""Reconstructions: measured per image, in any batches, and the tool that shows them."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from lvm_jax import image_folders, images
from lvm_jax.evaluation import reconstruction
from lvm_jax.measures import fidelity
from lvm_jax.tokenizer import codec

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(5):
        small = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        images.write_image(root / f"{number}.png", small.repeat(9, 0).repeat(9, 1))
    return root


def test_every_image_is_measured_whatever_the_batches(tokenizer, folder):
    paths = image_folders.list_images(folder)
    seen = []
    reconstructed = reconstruction.reconstruct(
        tokenizer, paths, num_shown=3, batch_size=2, progress=seen.append
    )
    assert sum(seen) == len(reconstructed.paths) == 5 and len(reconstructed.measured.originals) == 3
    originals = np.stack([images.resize_crop(images.read_image(path), 16) for path in paths])
    ids = tokenizer.encode(originals)
    decoded = images.to_uint8(tokenizer.decode(ids))
    measured = reconstructed.measured
    np.testing.assert_allclose(measured.numbers["psnr"], fidelity.psnr(decoded, originals))
    unit = (originals / np.float32(255), decoded / np.float32(255))
    np.testing.assert_allclose(measured.numbers["ssim"], fidelity.ssim(*unit), rtol=1e-5)
    used, counts = np.unique(ids, return_counts=True)
    assert measured.usage == len(used) / tokenizer.num_codes
    shares = counts / counts.sum()
    np.testing.assert_allclose(np.log(measured.perplexity), -(shares * np.log(shares)).sum())
    np.testing.assert_array_equal(measured.originals, originals[:3])
    np.testing.assert_array_equal(measured.decoded, decoded[:3])
    # Pictures of 9 x 16 pixels a side: two pairs in the first row, one in the second.
    page = reconstructed.picture(columns=2)
    assert page.shape[0] > 2 * 144 and 4 * 144 < page.shape[1] < 5 * 144
    column = reconstructed.picture(columns=1)
    assert column.shape[1] < 3 * 144 < len(column)
    assert len(reconstructed.picture(columns=2, scale=2)) < len(page)


def test_the_resize_rule_reaches_the_pixels(tokenizer, folder):
    config = images.ImageConfig(resize="squash")
    path = folder / "0.png"
    (original,) = reconstruction.reconstruct(tokenizer, [path], config).measured.originals
    np.testing.assert_array_equal(original, images.squash(images.read_image(path), 16))


def test_a_file_that_is_no_image_is_named(tokenizer, folder, tmp_path):
    (tmp_path / "x.txt").write_text("no picture")
    with pytest.raises(images.ImageError, match=r"x\.txt: not an image"):
        reconstruction.reconstruct(tokenizer, [folder / "0.png", tmp_path / "x.txt"])
    with pytest.raises(ValueError, match="nothing to reconstruct"):
        reconstruction.reconstruct(tokenizer, [])


def run(*arguments):
    command = [sys.executable, "tools/reconstruct.py", *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_tool_writes_a_picture_and_numbers(tokenizer, folder, tmp_path):
    squash = images.ImageConfig(resize="squash")
    codec.save_tokenizer(tmp_path / "tokenizer", tokenizer.config, tokenizer.params, squash)
    where = (f"--tokenizer={tmp_path / 'tokenizer'}", f"--out={tmp_path / 'out' / 'x.png'}")
    # A pattern and a folder overlap; each file counts once.
    shown = ("--show=2", "--columns=1", "--scale=3")
    done = run(*where, *shown, "--images", f"{folder}/[01].png", folder)
    assert done.returncode == 0, done.stderr
    assert "mean of 5 images" in done.stdout and "codes in use" in done.stdout
    paths = image_folders.list_images(folder)
    expected = reconstruction.reconstruct(tokenizer, paths, squash, num_shown=2)
    picture = images.read_image(tmp_path / "out" / "x.png")
    np.testing.assert_array_equal(picture, expected.picture(columns=1, scale=3))
    report = json.loads((tmp_path / "out" / "x.json").read_text())
    assert report["image_config"]["resize"] == "squash", "as the tokenizer was trained"
    assert report["num_images"] == 5 and report["fingerprint"] == tokenizer.fingerprint
    expected = expected.report()
    assert [row["path"] for row in report["images"]] == [str(path) for path in paths]
    assert report["mean"]["psnr"] == pytest.approx(expected["mean"]["psnr"], rel=1e-5)


def test_bad_input_to_the_tool_is_one_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    where = (f"--tokenizer={tmp_path / 'none'}", f"--out={tmp_path / 'x.png'}")
    for images_given, message in (
        ("nothing*.png", "--images: no file, folder or pattern nothing*.png"),
        (tmp_path / "empty", "empty holds no images"),
        (folder, "config.json is missing"),
    ):
        done = run(*where, "--images", images_given)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_background_that_is_no_color_is_named_by_its_flag(tokenizer, folder, tmp_path):
    codec.save_tokenizer(tmp_path / "tokenizer", tokenizer.config, tokenizer.params)
    where = (f"--tokenizer={tmp_path / 'tokenizer'}", f"--out={tmp_path / 'x.png'}")
    done = run(*where, "--background=1,2,999", "--images", folder)
    assert done.returncode == 2, done.stderr
    assert "--background=(1, 2, 999) must be three of 0..255" in done.stderr
