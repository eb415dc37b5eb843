"""Commands to go on with, true for the directories at hand."""

import pathlib
import shlex


def ask(
    model_dir: pathlib.Path,
    tokenizer_dir: pathlib.Path,
    out: pathlib.Path,
    num_images: int,
    temperature: float,
) -> tuple[str, str]:
    """(what it is good for, command) that asks a model with a reader's own pictures.

    Args:
        model_dir, tokenizer_dir: what was evaluated.
        out: directory of the report.
        num_images: of a task's sentence, the query and its answer included.
        temperature: of the report's answers.
    """
    pairs = range(1, num_images // 2)
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
