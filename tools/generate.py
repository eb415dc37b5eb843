r"""Answers visual prompts: images in, new images out.

  python tools/generate.py --model=DIR --tokenizer=DIR --prompt=analogy \
      --images in1.png out1.png in2.png out2.png query.png --num_candidates=4 --out=answer.png
  python tools/generate.py --model=DIR --tokenizer=DIR --input_file=prompts.jsonl

A line of the input file is {"input": ["a.png", "b.png", ...], "output": "answer.png"}; paths are
relative to where the command runs. With --images the output is a labelled picture of the prompt
and its answers, enlarged. With --input_file, or --nosheet, it is what the model drew and nothing
else: one image at its own size, or a grid of a row per candidate and a column per new image.

Pictures are read as those were that the model learned from: its workdir says how.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import cli
import json_lines
import picture_flags
from absl import flags

MODEL = flags.DEFINE_string("model", None, "Workdir of a training.", required=True)
TOKENIZER = flags.DEFINE_string("tokenizer", None, "The model's tokenizer.", required=True)
IMAGES = flags.DEFINE_string(
    "images", None, "Images of one prompt, in order: --images a.png b.png c.png ..."
)
OUT = flags.DEFINE_string("out", None, "Picture to write for --images.")
INPUT_FILE = flags.DEFINE_string("input_file", None, "Many prompts, one JSON line each.")
PROMPT = flags.DEFINE_enum(
    "prompt",
    "sequence",
    ["sequence", "analogy"],
    "analogy: example pairs and a query, checked to be odd in number; sequence: any images.",
)
NUM_NEW_IMAGES = flags.DEFINE_integer("num_new_images", 1, "Images to add.", lower_bound=1)
NUM_CANDIDATES = flags.DEFINE_integer("num_candidates", 1, "Answers to draw.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of the drawing.", lower_bound=0, upper_bound=2**32 - 1)
TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "0 takes the most probable code each time.")
TOP_K = flags.DEFINE_integer("top_k", 0, "Draw from this many most probable codes; 0: from all.")
TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw from the codes that make up this much probability.")
SHEET = flags.DEFINE_bool(
    "sheet",
    None,
    "Draw the prompt and its answers with labels, or only the answers; by default with --images.",
)
picture_flags.define_reading()
picture_flags.define_scale("a labelled picture's images")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Answers decoded at a time.", lower_bound=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """Files of one prompt and of its answer; `where` is what errors call it."""

    inputs: tuple[str, ...]
    output: pathlib.Path
    where: str


def main(*more_images: str) -> None:
    prompts = _prompts(more_images)
    _check(prompts)

    # Imported after the flags are known to be good: a typo should not wait for jax.
    import lvm_jax
    from lvm_jax import image_record, progress_bar
    from lvm_jax import images as images_lib
    from lvm_jax.generation import answers, language_model
    from lvm_jax.generation.answer_config import AnswerConfig
    from lvm_jax.generation.sampling import SamplingConfig
    from lvm_jax.pictures.loader import SquareLoader

    asked = AnswerConfig(
        num_new_images=NUM_NEW_IMAGES.value,
        num_candidates=NUM_CANDIDATES.value,
        seed=SEED.value,
        sampling=SamplingConfig(
            temperature=TEMPERATURE.value, top_k=TOP_K.value, top_p=TOP_P.value
        ),
        images_per_example=2 if PROMPT.value == "analogy" else 1,
        batch_size=BATCH_SIZE.value,
    )
    tokenizer = lvm_jax.load_tokenizer(TOKENIZER.value)
    known = language_model.load_image_config(MODEL.value)
    config = image_record.config_for(known, MODEL.value, picture_flags.changes())
    loader = SquareLoader(config, tokenizer.image_size)
    pictures = [[loader.load_file(path) for path in prompt.inputs] for prompt in prompts]
    model = lvm_jax.load_model(MODEL.value)
    with progress_bar.Bar(
        total=len(prompts) * NUM_CANDIDATES.value, unit="answer", desc="drawing"
    ) as bar:
        drawn = answers.answer_prompts(model, tokenizer, pictures, asked, progress=bar.update)
    for prompt, shown, answer in zip(prompts, pictures, drawn):
        images_lib.write_image(prompt.output, _picture(shown, images_lib.to_uint8(answer)))
        print(f"wrote {prompt.output}")


def _wants_sheet() -> bool:
    return IMAGES.value is not None if SHEET.value is None else SHEET.value


def _picture(prompt, answers_CMSS3):
    """What is written for a prompt: uint8 [H, W, 3]."""
    import numpy as np

    from lvm_jax import sheets
    from lvm_jax.generation import sheet

    if _wants_sheet():
        is_analogy = PROMPT.value == "analogy"
        scale = flags.FLAGS.scale
        return sheet.draw(np.stack(prompt), answers_CMSS3, is_analogy=is_analogy, scale=scale)
    alone = answers_CMSS3.shape[:2] == (1, 1)
    return answers_CMSS3[0, 0] if alone else sheets.grid(answers_CMSS3)


def _prompts(more_images: Sequence[str]) -> list[Prompt]:
    """The prompts that the flags name.

    Raises:
        ValueError: neither or both ways of giving prompts, or a line that is none.
    """
    if (IMAGES.value is None) == (INPUT_FILE.value is None):
        raise ValueError("give a prompt: either --images a.png b.png ... or --input_file=FILE")
    if IMAGES.value is not None:
        if OUT.value is None:
            raise ValueError("--images needs --out=FILE, the picture to write")
        inputs = (IMAGES.value, *more_images)
        json_lines.require_files(inputs, "--images")
        return [Prompt(inputs=inputs, output=pathlib.Path(OUT.value), where="--images")]
    if more_images or OUT.value is not None:
        extra = more_images[0] if more_images else f"--out={OUT.value}"
        raise ValueError(f"--input_file names its own inputs and outputs; drop {extra}")
    prompts = []
    for where, values in json_lines.read(INPUT_FILE.value):
        output = values.get("output")
        if not isinstance(output, str):
            raise ValueError(f'{where}: "output" must be the picture to write')
        inputs = json_lines.paths(values, "input", where)
        prompts.append(Prompt(inputs=inputs, output=pathlib.Path(output), where=where))
    return prompts


def _check(prompts: Sequence[Prompt]) -> None:
    """What can be known before anything is loaded.

    Raises:
        ValueError: an analogy without a query, an output that is no picture, or a scale of none.
    """
    from lvm_jax import images as images_lib

    if flags.FLAGS.scale is not None and not _wants_sheet():
        raise ValueError(
            f"--scale={flags.FLAGS.scale} is of labelled pictures; add --sheet or drop it"
        )
    for prompt in prompts:
        if PROMPT.value == "analogy" and len(prompt.inputs) % 2 == 0:
            raise ValueError(
                f"{prompt.where}: an analogy is pairs and a query, an odd number of images, not "
                f"{len(prompt.inputs)}; add the query, or use --prompt=sequence"
            )
        try:
            images_lib.written_format(prompt.output)
        except images_lib.ImageError as error:
            raise ValueError(f"{prompt.where}: {error}") from error


if __name__ == "__main__":
    cli.run(main, ["..."])
