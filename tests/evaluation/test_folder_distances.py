"""Folders of pictures become features once, whatever the batches, and the tool compares them."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import compare_folders
from lvm_jax import atomic, configs, images
from lvm_jax.evaluation import folder_distances, folder_features
from lvm_jax.evaluation.folder_features import FeatureConfig
from lvm_jax.images import ImageConfig
from lvm_jax.measures import feature_distances, inception

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Nine dark pictures and seven bright ones, of several sizes."""
    root = tmp_path_factory.mktemp("folders")
    rng = np.random.default_rng(0)
    for name, number, base in (("dark", 9, 0), ("bright", 7, 90)):
        for index in range(number):
            pixels = base + rng.integers(0, 160, (9 + index, 12, 3), dtype=np.uint8)
            images.write_image(root / name / f"{index}.png", pixels)
    return root


def extract(x_BSS3):
    """What stands in for Inception: 2,048 random means of a few pixels."""
    few = x_BSS3[:, ::60, ::60].reshape(len(x_BSS3), -1)
    return few @ np.random.default_rng(1).standard_normal((few.shape[1], 2048), np.float32)


def of_folder(folder, config=None, **more):
    config = config or FeatureConfig(batch_size=4)
    return folder_features.of_folder(folder, config, "weights", more.pop("by", extract), **more)


def test_features_do_not_depend_on_batches(folders):
    found, seen = [], []
    for batch_size in (2, 4, 32):
        config = FeatureConfig(batch_size=batch_size, num_threads=2)
        found.append(of_folder(folders / "dark", config, progress=lambda *n: seen.append(n)))
    paths = sorted((folders / "dark").iterdir())
    pictures = np.stack(
        [inception.prepare(images.read_image(path), "tensorflow") for path in paths]
    )
    for each in found:
        np.testing.assert_allclose(each.features, extract(pictures), rtol=1e-5, atol=1e-5)
        assert each.moments.num == 9
    assert seen[:5] == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]


def test_what_was_found_is_kept_until_something_changes(folders, tmp_path, monkeypatch):
    calls = []

    def count(x_BSS3):
        calls.append(len(x_BSS3))
        return extract(x_BSS3)

    def asked(**changes):
        calls.clear()
        config = FeatureConfig(**changes)
        found = of_folder(folders / "bright", config, by=count, cache=tmp_path / "cache")
        return found, bool(calls)

    first, read = asked()
    again, read_again = asked(num_threads=2, images=ImageConfig(resize="squash"))
    assert read and not read_again, "neither threads nor the way to squares say anything here"
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_allclose(first.moments.covariance, again.moments.covariance, atol=1e-6)
    assert again.settings == first.settings and again.moments.num == 7
    for changes in (
        {"resize": "pytorch_fid"},
        {"size": 8},
        {"images": ImageConfig(background=(0, 0, 0))},
    ):
        assert asked(**changes)[1], changes
    os.utime(folders / "bright" / "0.png", ns=(1, 1))
    assert asked()[1]
    monkeypatch.setattr(folder_features, "MOST_KEPT", 3)
    few, _ = asked()
    np.testing.assert_array_equal(few.features, first.features[[0, 3, 6]])
    assert few.moments.num == 7


def test_pictures_become_squares_first_where_a_size_is_given(folders):
    cut = of_folder(folders / "dark", FeatureConfig(size=8, batch_size=4))
    path = folders / "dark" / "0.png"
    square = images.resize_crop(images.read_image(path), 8)
    expected = extract(inception.prepare(square, "tensorflow")[None])[0]
    np.testing.assert_allclose(cut.features[0], expected, rtol=1e-5, atol=1e-5)


def test_the_tool_from_the_command_line(folders, inception_file, tmp_path):
    """The whole way with the real network, of which the distances are those of its features."""
    command = [sys.executable, str(ROOT / "tools" / "compare_folders.py")]
    command += [str(folders / "dark"), str(folders / "bright"), f"--inception={inception_file}"]
    command += ["--num_threads=2", "--batch_size=3", f"--cache={tmp_path / 'cache'}"]
    command += [f"--json={tmp_path / 'out' / 'distances.json'}", "--num_subsets=10"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "has 9 pictures: below 2,048" in done.stderr
    report = json.loads((tmp_path / "out" / "distances.json").read_text())
    (distance,) = report["folders"].values()
    kept = {
        found.moments.num: found
        for found in map(folder_features.read, (tmp_path / "cache").iterdir())
    }
    assert report["settings"].items() >= kept[9].settings.items()
    features = [kept[number].features for number in (9, 7)]
    fid = feature_distances.fid(*(feature_distances.moments([each]) for each in features))
    assert distance["fid"] == pytest.approx(fid, rel=1e-6)
    kid = feature_distances.kid(*features, num_subsets=10, subset_size=3)
    assert distance["kid"]["mean"] == pytest.approx(kid.mean)
    assert f"{fid:.3f}" in done.stdout and f"{1000 * kid.mean:.3f} ±" in done.stdout


@pytest.fixture
def quick(monkeypatch):
    """The tool's main in this process, with a stand-in for Inception."""
    monkeypatch.setattr(folder_features, "extractor", lambda params: extract)
    monkeypatch.setattr("lvm_jax.measures.inception_weights.load", lambda file: ({}, "weights"))

    def run(*names, **more):
        compare_folders.main(
            compare_folders.Options(folders=tuple(map(str, names)), inception="file", **more)
        )

    return run


def test_stored_features_stand_in_for_a_folder(quick, folders, tmp_path, capsys):
    quick(folders / "dark", folders / "bright", folders / "dark", cache=str(tmp_path))
    whole = capsys.readouterr().out
    (kept,) = (path for path in tmp_path.iterdir() if folder_features.read(path).moments.num == 9)
    quick(kept, folders / "bright")
    assert capsys.readouterr().out.split()[-4:] == whole.splitlines()[2].split()[-4:]
    assert float(whole.splitlines()[3].split()[3]) == 0.0, "a folder is 0 from itself"
    # A file of pytorch-fid has moments alone, and says of nothing else.
    stored = folder_features.read(kept)
    theirs = tmp_path / "theirs.npz"
    # A covariance with all directions, as that of many pictures.
    np.savez(theirs, mu=stored.moments.mean, sigma=stored.moments.covariance + np.eye(2048))
    quick(theirs, folders / "bright", json=str(tmp_path / "out.json"))
    assert "not known" in capsys.readouterr().out
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["num_images"] is None
    assert report["folders"][str(folders / "bright")]["kid"] is None
    assert "does not say" in folder_distances.doubt(theirs, folder_features.read(theirs))


def test_bad_input_is_refused_in_one_line(quick, folders, tmp_path):
    quick(folders / "dark", folders / "bright", cache=str(tmp_path))
    kept = next(tmp_path.iterdir())
    (tmp_path / "few").mkdir()
    images.write_image(tmp_path / "few" / "0.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "bad").mkdir()
    for number in range(5):
        (tmp_path / "bad" / f"{number}.png").write_bytes(b"\x89PNG")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "shapes.npz", mu=np.zeros(3), sigma=np.zeros((3, 3)))
    (tmp_path / "text.npz").write_text("hello")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(kept.read_bytes()[:-1000])

    dark = folders / "dark"
    for names, more, message in (
        ([dark], {}, r"expects REFERENCE FOLDER\.\.\., got .*dark alone"),
        ([dark, tmp_path / "none"], {}, r"none does not exist"),
        ([dark, tmp_path / "few"], {}, r"few has 1 pictures; FID and KID take 4 at least"),
        ([dark, tmp_path / "bad"], {}, r"bad/0\.png"),
        ([dark, tmp_path / "none.npz"], {}, r"none\.npz: No such file"),
        ([dark, tmp_path / "other.npz"], {}, r"other\.npz is no file of features: it has no mu"),
        ([dark, tmp_path / "shapes.npz"], {}, r"mu of shape \(3,\), not mu \(2048,\)"),
        ([dark, tmp_path / "text.npz"], {}, r"text\.npz is no file of features"),
        ([dark, cut], {}, r"cut\.npz is no file of features"),
        ([kept, dark], {"resize": "pytorch_fid"}, r"with resize=tensorflow, not pytorch_fid;"),
        ([kept, dark], {"size": 8}, r"was made with .*, not"),
        ([dark, folders / "bright"], {"subset_size": 4}, r"subset_size=4 is too large .*at most 3"),
        ([dark, dark], {"fit": "squash"}, r"fit needs size"),
        ([dark, dark], {"cache": str(cut)}, r"cannot write .*cut\.npz"),
        ([dark, dark], {"num_subsets": 1}, r"num_subsets=1 must be at least 2"),
    ):
        with pytest.raises((ValueError, atomic.WriteError), match=message) as raised:
            quick(*names, **more)
        assert "\n" not in str(raised.value)


def test_settings_hold_what_features_depend_on():
    """Another field of `ImageConfig` is to be thought about here."""
    known = {"resize", "background", "max_pixels", "reduced_jpeg"}
    assert configs.to_dict(ImageConfig()).keys() == known
