"""tools/generate.py as a user starts it."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

import generate as tool
import lvm_jax
from lvm_jax import configs, image_record, images, sheets
from lvm_jax.frames import clip_files, frame_readers
from lvm_jax.generation import sheet
from lvm_jax.generation.jobs import prompt_files
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


def options(trained, model="model", **more):
    return {
        "model": str(trained / model),
        "tokenizer": str(trained / "tokenizer"),
        "batch_size": 4,
        **more,
    }


def test_prompts_from_a_file(trained, files, tmp_path, model, tokenizer, pictures, capsys):
    """As a user starts it; the second time only what is missing is made."""
    lines = [
        {"input": [str(path) for path in files[:3]], "output": str(tmp_path / "a" / "a.png")},
        {"input": [str(files[3])], "output": str(tmp_path / "b.png"), "target": str(files[4])},
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
    assert re.search(r"wrote .*b.png: PSNR \d+\.\d\d dB", done.stdout)
    (tmp_path / "b.png").unlink()
    asked = options(trained, input_file=str(tmp_path / "prompts.jsonl"), prompt="analogy")
    asked |= {"seed": 3, "top_k": 9}
    tool.many_prompts(tool.ManyPrompts(**asked))
    again = capsys.readouterr().out
    assert "kept 1 of 2 outputs: made before with the same settings" in again
    assert "b.png: PSNR" in again and "a.png" not in again
    message = r"jsonl line 1: .*\(answer.sampling.top_p=1.0, now 0.5\).*--overwrite"
    with pytest.raises(ValueError, match=message):
        tool.many_prompts(tool.ManyPrompts(**asked, top_p=0.5))


def test_a_lines_answer_depends_on_no_other_line(trained, files, tmp_path):
    """Seeds may be of a line, and truths of several new images."""

    def write(name, lines):
        for line in lines:
            line["output"] = str(tmp_path / name / line["output"])
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        asked = options(trained, input_file=str(path), num_new_images=2, sheet=False)
        tool.many_prompts(tool.ManyPrompts(**asked))

    one = {"input": [str(files[0])], "output": "one.png", "seed": 5}
    two = {"input": [str(files[1]), str(files[2])], "output": "two.png"}
    two["target"] = [str(files[3]), str(files[4])]
    write("both", [dict(one), dict(two)])
    write("alone", [dict(two)])
    assert (tmp_path / "both/two.png").read_bytes() == (tmp_path / "alone/two.png").read_bytes()
    assert (tmp_path / "both/one.png").is_file()


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
def test_pictures_are_read_as_the_model_learned(
    trained, wide, tmp_path, model, tokenizer, fit, monkeypatch
):
    warnings = []
    monkeypatch.setattr(image_record.logging, "warning", lambda text, *_: warnings.append(text))
    config = dataclasses.replace(SQUASH, resize=fit or "squash")
    prompt = np.stack([SquareLoader(config, 16).load_file(path) for path in wide])
    expected = lvm_jax.generate(model, tokenizer, prompt, num_candidates=3, batch_size=4)
    expected = images.to_uint8(expected)
    asked = options(trained, "squashed", num_candidates=3, prompt="analogy", fit=fit)
    asked |= {"images": tuple(map(str, wide)), "out": str(tmp_path / "out.png")}
    for how, drawn in (
        ({"sheet": False}, sheets.grid(expected)),
        ({"scale": 2}, sheet.draw(prompt, expected, is_analogy=True, scale=2)),
    ):
        tool.one_prompt(tool.OnePrompt(**asked, **how))
        np.testing.assert_array_equal(images.read_image(tmp_path / "out.png"), drawn)
    assert bool(warnings) == (fit is not None)


def test_a_clip_is_continued(trained, files, tmp_path, model, tokenizer, pictures):
    """Five frames as a GIF, of which three fit beside a new one; a window that slides."""
    clip_files.write_clip(tmp_path / "in.gif", list(pictures[:5]), 20)
    asked = options(trained, frames=str(tmp_path / "in.gif"), num_new_images=3, temperature=0.0)
    asked["include_input"] = True
    tool.continuation(tool.Continuation(**asked, out=str(tmp_path / "frames")))
    drawn = [images.read_image(tmp_path / "frames" / f"{i:05d}.png") for i in range(1, 7)]
    shown = [frame_readers.read_frame(tmp_path / "in.gif", i) for i in (2, 3, 4)]
    np.testing.assert_array_equal(drawn[:3], shown)
    expected = lvm_jax.generate(model, tokenizer, np.stack(shown), 3, temperature=0, batch_size=4)
    np.testing.assert_array_equal(drawn[3:], images.to_uint8(expected[0]))
    asked |= {"start": 0, "num_frames": 2, "stride": 2, "out": str(tmp_path / "out.gif")}
    tool.continuation(tool.Continuation(**asked))
    assert frame_readers.count_frames(tmp_path / "out.gif") == 5
    assert frame_readers.frames_per_second(tmp_path / "out.gif") == 10
    # A folder may hold what is not ours.
    with pytest.raises(ValueError, match=r"--frames: .*00001.png was made with other settings"):
        tool.continuation(tool.Continuation(**{**asked, "out": str(tmp_path / "frames")}))


@pytest.mark.parametrize("given", [{}, {"seed": 5}], ids=str)
def test_a_prompt_file_is_answered_as_it_says_or_as_is_asked(
    trained, pictures, tmp_path, model, tokenizer, given
):
    prompt = prompt_files.PromptFile(
        images=tuple(map(images.encode_png, pictures[:3])),
        targets=(images.encode_png(pictures[3]),),
        layout="analogy",
        answer=prompt_files.Asked(seed=3, top_k=9, num_candidates=2),
    )
    (tmp_path / "prompt.json").write_text(prompt.text())
    asked = options(trained, prompt=str(tmp_path / "prompt.json"), out=str(tmp_path / "a.png"))
    tool.saved_prompt(tool.SavedPrompt(**asked, **given, files=True))
    settings = {"seed": 3, "num_candidates": 2} | given
    expected = lvm_jax.generate(model, tokenizer, pictures[:3], top_k=9, batch_size=4, **settings)
    for number, answer_M in enumerate(expected, 1):
        written = images.read_image(tmp_path / f"a_candidate{number}_image1.png")
        np.testing.assert_array_equal(written, images.to_uint8(answer_M[0]))
    # Where they lay while they were read is nobody's business.
    record = json.loads((tmp_path / "a.png.json").read_text())
    names = [f"{asked['prompt']}#image00{number}" for number in (1, 2, 3)]
    assert [each["path"] for each in record["images"]] == names


def test_another_tokenizer_is_refused(trained, files, tmp_path):
    done = generate(*flags(trained, "strange"), "--images", files[0], f"--out={tmp_path / 'x.png'}")
    assert done.returncode == 2
    assert "is not the model's eeeeeeeeeeee" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_prompt_that_is_too_long_is_refused_or_shortened(trained, files, tmp_path):
    asked = options(trained, images=tuple(map(str, files)), out=str(tmp_path / "a.png"))
    with pytest.raises(configs.ConfigError, match=r"of 6 images does not fit.* so 3 of") as raised:
        tool.one_prompt(tool.OnePrompt(**asked))
    assert "drop_oldest" in raised.value.args
    tool.one_prompt(tool.OnePrompt(**asked, drop_oldest=True))
    assert (tmp_path / "a.png").is_file()


def test_a_lone_picture_that_is_cut_is_refused_before_the_model_is_loaded(
    trained, files, tmp_path, monkeypatch
):
    """A header alone is no picture; only files of prompts go on without one."""
    whole = files[0].read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(lvm_jax, "load_model", None)
    asked = options(trained, images=(str(files[0]), str(cut)), out=str(tmp_path / "a.png"))
    with pytest.raises(ValueError, match=r"--images: cannot read image .*cut\.png"):
        tool.one_prompt(tool.OnePrompt(**asked))
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --images or --input_file or --frames or --prompt"),
        (["--prompt=analogy", "--out=a.png"], "--prompt=analogy needs --images or --input_file"),
        (
            ["--prompt=nowhere.json", "--out=a.png"],
            "--prompt=nowhere.json is neither a file nor the name of a prompt that ships; ",
        ),
        (["--prompt=p.json", "--out=a.png", "--top_k=1"], "--prompt does not read --top_k"),
        (["--images", "{0}", "--out=a.png", "--prompt=p.json"], "must be one of sequence, analogy"),
        (["--images", "{0}"], "--images needs --out"),
        (["--images", "{0}", "nowhere.png", "--out=a.png"], "--images: no file nowhere.png"),
        (
            ["--images", "{0}", "{1}", "--prompt=analogy", "--out=a.png"],
            "an odd number of images, not 2; add the query, or use --prompt=sequence",
        ),
        (["--images", "{0}", "--out=a.png", "--sheet", "--files"], "--files one for each image"),
        (["--images", "{0}", "--out=a.png", "--input_file=a"], "does not read --input_file"),
    ],
)
def test_bad_input_gets_one_line(files, arguments, message):
    arguments = [str(argument).format(*files) for argument in arguments]
    done = generate("--model=m", "--tokenizer=t", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"images": ["0"], "out": "a.xyz"}, "unknown extension '.xyz'"),
        ({"images": ["0"], "out": "a.png"}, "no tokenizer in t"),
        ({"images": ["0"], "out": "a.png", "top_p": 2.0}, "top_p=2.0"),
        ({"frames": "0", "out": "a.gif", "fps": -1.0}, "fps=-1.0 must be above 0"),
        ({"frames": "0", "out": "a.gif", "num_frames": 2}, "1 frames give 1"),
        ({"frames": "0", "out": "a.gif", "start": 9}, "from start=9 on, not one; begin earlier"),
        ({"frames": "nowhere.mp4", "out": "a.gif"}, "--frames: no file nowhere.mp4"),
    ],
)
def test_bad_values_are_refused_before_anything_is_loaded(files, more, message):
    asked = {"model": "m", "tokenizer": "t", **more}
    with pytest.raises(ValueError, match=message):
        if "images" in more:
            asked["images"] = (str(files[0]),)
            tool.one_prompt(tool.OnePrompt(**asked))
        else:
            asked["frames"] = asked["frames"].replace("0", str(files[0]))
            tool.continuation(tool.Continuation(**asked))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is no JSON"),
        ("[]", "line 2 must be a JSON object"),
        ('{"output": "b.png"}', 'line 2: "input" must be a list of one or more image files'),
        ('{"input": [], "output": "b.png"}', 'line 2: "input" must be a list of one or more'),
        ('{"input": ["FILE"]}', 'line 2: "output" must be the picture to write'),
        ('{"input": ["FILE"], "output": "OUT"}', "line 2: .* is an output of .* line 1 too"),
        ('{"input": ["FILE"], "output": "b.png", "seed": -1}', 'line 2: "seed" must be a whole'),
        ('{"input": ["FILE"], "output": "b.png", "target": 1}', 'line 2: "target" must be a list'),
        (
            '{"input": ["FILE"], "output": "b.png", "target": ["FILE", "FILE"]}',
            "line 2: 2 targets for 1 new images",
        ),
        ('{"input": ["README.md"], "output": "b.png"}', "line 2: cannot read image README.md"),
    ],
)
def test_bad_lines_are_named(files, tmp_path, line, message):
    good = json.dumps({"input": [str(files[0])], "output": str(tmp_path / "a.png")})
    line = line.replace("FILE", str(files[0])).replace("OUT", str(tmp_path / "a.png"))
    (tmp_path / "prompts.jsonl").write_text(f"{good}\n{line}\n")
    asked = tool.ManyPrompts(model="m", tokenizer="t", input_file=str(tmp_path / "prompts.jsonl"))
    with pytest.raises(ValueError, match=message):
        tool.many_prompts(asked)
