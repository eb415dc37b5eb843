"""Commands to go on with, true for the directories at hand."""

import pathlib
import shlex

from lvm_jax.sentences.sources import Source


def ask(
    model_dir: pathlib.Path,
    tokenizer_dir: pathlib.Path,
    out: pathlib.Path,
    task: Source,
    temperature: float,
) -> tuple[str, str]:
    """(what it is good for, command) that asks a model with a reader's own pictures.

    Args:
        model_dir, tokenizer_dir: what was evaluated.
        out: directory of the report.
        task: says how many pairs a prompt has.
        temperature: of the report's answers.
    """
    pairs = range(1, task.images_per_sentence // 2)
    pictures = [name for i in pairs for name in (f"question{i}.png", f"answer{i}.png")]
    return "Ask the model with pictures of your own: example pairs, then a query", _lines(
        "python tools/generate.py --prompt=analogy",
        f"--model={shlex.quote(str(model_dir))} --tokenizer={shlex.quote(str(tokenizer_dir))}",
        f"--num_candidates=4 --temperature={temperature:g}",
        f"--out={shlex.quote(str(out / 'answer.png'))}",
        f"--images {' '.join(pictures)} query.png",
    )


def _lines(*parts: str) -> str:
    return " \\\n    ".join(parts)
