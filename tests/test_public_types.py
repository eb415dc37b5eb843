"""Type checkers see the public functions, and find a typo in a call of one."""

import pathlib
import subprocess
import sys

import pytest

import lvm_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = """
import lvm_jax

tokenizer = lvm_jax.load_tokenizer("DIR")
model = lvm_jax.load_model("DIR")
pair = lvm_jax.load_pretrained("uvd_mini")
prompt = lvm_jax.load_prompt("emoji_mask", tokenizer)
answers = lvm_jax.generate(model, tokenizer, ["a.png"], num_candidates=4, seed=0)
codes = tokenizer.encode(answers[0])
"""


def check(folder: pathlib.Path, line: str) -> list[str]:
    """What ty says of a program with one more line, which uses the package as installed."""
    (folder / "program.py").write_text(PROGRAM + line)
    command = [sys.executable, "-m", "ty", "check", "--output-format=concise", "--project=."]
    command += [f"--python={sys.prefix}", f"--extra-search-path={ROOT}", "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return [text for text in done.stdout.splitlines() if text.startswith("program.py")]


def test_right_calls_are_right(tmp_path):
    assert check(tmp_path, "logits = pair[0].logits(codes)\n") == []


@pytest.mark.parametrize(
    "line, found",
    [
        ("lvm_jax.generate(model, tokenizer, [], num_candidate=4)", "`num_candidate` does not"),
        ("lvm_jax.generate(model, tokenizer, [], seed='zero')", "Expected `int`"),
        ("lvm_jax.generate(tokenizer, model, [])", "Expected `LanguageModel`"),
        ("lvm_jax.generat", "no member `generat`"),
        ("lvm_jax.load_model('DIR').logit(codes)", "no attribute `logit`"),
        ("answers.append(1)", "no attribute `append`"),
    ],
)
def test_a_wrong_one_is_found(tmp_path, line, found):
    told = check(tmp_path, f"{line}\n")
    last = f"program.py:{PROGRAM.count(chr(10)) + 1}:"
    assert told and all(text.startswith(last) for text in told), told
    assert found in "\n".join(told).replace("has no", "no"), told


def test_dir_lists_the_public_names():
    assert dir(lvm_jax) == sorted(lvm_jax.__all__)
    assert set(lvm_jax._LAZY) | {"__version__"} == set(lvm_jax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'generat'"):
        _ = lvm_jax.generat  # ty: ignore
