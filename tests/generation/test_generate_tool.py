"""tools/generate.py as a user starts it."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

import lvm_jax
from lvm_jax import configs, image_record, images, sheets
from lvm_jax.generation import sheet
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.tokenizer import codec
from lvm_jax.training.checkpoints import Checkpoints
from lvm_jax.training.workdir import RunIdentity, prepare_workdir

SQUASH = images.ImageConfig(resize="squash", background=(0, 90, 0))
ROOT = pathlib.Path(__file__).resolve().parents[2]


def generate(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "generate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def trained(model, tokenizer, tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    codec.save_tokenizer(root / "tokenizer", tokenizer.config, tokenizer.params)
    for name, fingerprint in (
        ("model", tokenizer.fingerprint),
        ("squashed", tokenizer.fingerprint),
        ("strange", "e" * 64),
    ):
        resolved = {"model": configs.to_dict(model.config), "tokenizer_fingerprint": fingerprint}
        if name == "squashed":
            resolved[image_record.KEY] = configs.to_dict(SQUASH)
        prepare_workdir(root / name, RunIdentity(resolved=resolved, fixed=("model",)))
        checkpoints = Checkpoints(root / name, resolved)
        checkpoints.save(1, {"params": model.params})
        checkpoints.wait(1, {"params": model.params})
        checkpoints.close()
    return root


@pytest.fixture(scope="module")
def files(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(pictures):
        images.write_image(folder / f"{number}.png", picture)
    return [folder / f"{number}.png" for number in range(len(pictures))]


def flags(trained, model="model"):
    return [f"--model={trained / model}", f"--tokenizer={trained / 'tokenizer'}"]


def test_prompts_from_a_file(trained, files, tmp_path, model, tokenizer, pictures):
    lines = [
        {"input": [str(path) for path in files[:3]], "output": str(tmp_path / "a" / "a.png")},
        {"input": [str(files[3])], "output": str(tmp_path / "b.png")},
    ]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    done = generate(
        *flags(trained),
        f"--input_file={tmp_path / 'prompts.jsonl'}",
        *("--prompt=analogy", "--seed=3", "--top_k=9", "--batch_size=4"),
    )
    assert done.returncode == 0, done.stderr
    written = images.read_image(tmp_path / "a" / "a.png")
    expected = lvm_jax.generate(model, tokenizer, pictures[:3], seed=3, top_k=9, batch_size=4)
    np.testing.assert_array_equal(written, images.to_uint8(expected[0, 0]))
    assert images.read_image(tmp_path / "b.png").shape == (16, 16, 3)
    assert "does not say how its pictures were read" in done.stderr


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Three transparent pictures of 24 x 40 pixels."""
    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(7)
    for number in range(3):
        pixels = rng.integers(0, 256, (24, 40, 4), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("fit", [None, "crop"])
def test_pictures_are_read_as_the_model_learned(trained, wide, tmp_path, model, tokenizer, fit):
    config = dataclasses.replace(SQUASH, resize=fit or "squash")
    prompt = np.stack([SquareLoader(config, 16).load_file(path) for path in wide])
    asked = ("--num_candidates=3", "--batch_size=4", "--prompt=analogy", "--images", *wide)
    expected = lvm_jax.generate(model, tokenizer, prompt, num_candidates=3, batch_size=4)
    expected = images.to_uint8(expected)
    change = () if fit is None else (f"--fit={fit}",)
    out = tmp_path / "out.png"
    for how, drawn in (
        ("--nosheet", sheets.grid(expected)),
        ("--scale=2", sheet.draw(prompt, expected, is_analogy=True, scale=2)),
    ):
        done = generate(*flags(trained, "squashed"), *change, how, f"--out={out}", *asked)
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(images.read_image(out), drawn)
        different = "are read with resize=crop, but" in done.stderr
        assert different == (fit is not None), done.stderr


def test_another_tokenizer_is_refused(trained, files, tmp_path):
    done = generate(*flags(trained, "strange"), "--images", files[0], f"--out={tmp_path / 'x.png'}")
    assert done.returncode == 2
    assert "is not the model's eeeeeeeeeeee" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --images a.png b.png ... or --input_file=FILE"),
        (["--images", "{0}"], "--images needs --out=FILE"),
        (["--images", "{0}", "nowhere.png", "--out=a.png"], "--images: no file nowhere.png"),
        (["--images", "{0}", "--out=a.xyz"], "unknown extension '.xyz'"),
        (
            ["--images", "{0}", "{1}", "--prompt=analogy", "--out=a.png"],
            "an odd number of images, not 2",
        ),
        (["--images", "{0}", "--out=a.png"], "no tokenizer in t"),
        (["--images", "{0}", "--out=a.png", "--top_p=2"], "top_p=2.0"),
        (["--images", "{0}", "--out=a.png", "--nosheet", "--scale=3"], "--scale=3 is of labelled"),
    ],
)
def test_bad_input_gets_one_line(files, arguments, message):
    arguments = [str(argument).format(*files) for argument in arguments]
    done = generate("--model=m", "--tokenizer=t", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
