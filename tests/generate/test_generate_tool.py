"""tools/generate.py as a user starts it."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import lvm_jax
from lvm_jax import configs, images
from lvm_jax.tokenizer import codec
from lvm_jax.training.checkpoints import Checkpoints
from lvm_jax.training.workdir import prepare_workdir

ROOT = pathlib.Path(__file__).resolve().parents[2]


def generate(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "generate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def trained(model, tokenizer, tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    codec.save_tokenizer(root / "tokenizer", tokenizer.config, tokenizer.params)
    for name, fingerprint in (("model", tokenizer.fingerprint), ("strange", "e" * 64)):
        resolved = {"model": configs.to_dict(model.config), "tokenizer_fingerprint": fingerprint}
        prepare_workdir(root / name, resolved, fixed=("model",))
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


def test_candidates_of_one_prompt_make_a_grid(trained, files, tmp_path):
    out = tmp_path / "grid.png"
    done = generate(
        *flags(trained),
        *("--images", *files[:1], f"--out={out}", "--num_candidates=3", "--batch_size=4"),
    )
    assert done.returncode == 0, done.stderr
    height, width, _ = images.read_image(out).shape
    assert height > 3 * 16 > width >= 16


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
    ],
)
def test_bad_input_gets_one_line(files, arguments, message):
    arguments = [str(argument).format(*files) for argument in arguments]
    done = generate("--model=m", "--tokenizer=t", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
