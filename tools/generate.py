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
from typing import TYPE_CHECKING, Literal

import cli
import json_lines
from lvm_jax import configs
from options import Place
from picture_options import ReadingOptions

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ReadingOptions):
    """What is asked, of which model.

    Attributes:
        model: workdir of a training.
        tokenizer: the model's tokenizer.
        images: images of one prompt, in order: --images a.png b.png c.png ...
        out: picture to write for --images.
        input_file: many prompts, one JSON line each.
        prompt: analogy: example pairs and a query, checked to be odd in number; sequence: any
            images.
        num_new_images: images to add.
        num_candidates: answers to draw.
        seed: of the drawing.
        temperature: 0 takes the most probable code each time.
        top_k: draw from this many most probable codes; 0: from all.
        top_p: draw from the codes that make up this much probability.
        sheet: draw the prompt and its answers with labels, or only the answers; by default with
            --images.
        scale: how many times the size of a labelled picture's images is drawn; by default enough to
            see something.
        batch_size: answers decoded at a time.
    """

    model: Place
    tokenizer: Place
    images: tuple[str, ...] = ()
    out: str | None = None
    input_file: str | None = None
    prompt: Literal["sequence", "analogy"] = "sequence"
    num_new_images: int = 1
    num_candidates: int = 1
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    sheet: bool | None = None
    scale: int | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "num_new_images", "num_candidates", "batch_size", "scale")

    @property
    def wants_sheet(self) -> bool:
        """Whether labelled pictures are drawn."""
        return bool(self.images) if self.sheet is None else self.sheet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """Files of one prompt and of its answer; `where` is what errors call it."""

    inputs: tuple[str, ...]
    output: pathlib.Path
    where: str


def main(options: Options) -> None:
    prompts = _prompts(options)
    _check(options, prompts)

    # Imported after the flags are known to be good: a typo should not wait for jax.
    import lvm_jax
    from lvm_jax import image_record, progress_bar
    from lvm_jax import images as images_lib
    from lvm_jax.generation import answers, language_model
    from lvm_jax.generation.answer_config import AnswerConfig
    from lvm_jax.generation.sampling import SamplingConfig
    from lvm_jax.pictures.loader import SquareLoader

    asked = AnswerConfig(
        num_new_images=options.num_new_images,
        num_candidates=options.num_candidates,
        seed=options.seed,
        sampling=SamplingConfig(
            temperature=options.temperature, top_k=options.top_k, top_p=options.top_p
        ),
        images_per_example=2 if options.prompt == "analogy" else 1,
        batch_size=options.batch_size,
    )
    tokenizer = lvm_jax.load_tokenizer(options.tokenizer)
    known = language_model.load_image_config(options.model)
    config = image_record.config_for(known, options.model, options.changes())
    loader = SquareLoader(config, tokenizer.image_size)
    pictures = [[loader.load_file(path) for path in prompt.inputs] for prompt in prompts]
    model = lvm_jax.load_model(options.model)
    with progress_bar.Bar(
        total=len(prompts) * options.num_candidates, unit="answer", desc="drawing"
    ) as bar:
        drawn = answers.answer_prompts(model, tokenizer, pictures, asked, progress=bar.update)
    for prompt, shown, answer in zip(prompts, pictures, drawn):
        images_lib.write_image(prompt.output, _picture(options, shown, images_lib.to_uint8(answer)))
        print(f"wrote {prompt.output}")


def _picture(
    options: Options, prompt: Sequence["np.ndarray"], answers_CMSS3: "np.ndarray"
) -> "np.ndarray":
    """What is written for a prompt: uint8 [H, W, 3]."""
    import numpy as np

    from lvm_jax import sheets
    from lvm_jax.generation import sheet

    if options.wants_sheet:
        return sheet.draw(
            np.stack(prompt),
            answers_CMSS3,
            is_analogy=options.prompt == "analogy",
            scale=options.scale,
        )
    alone = answers_CMSS3.shape[:2] == (1, 1)
    return answers_CMSS3[0, 0] if alone else sheets.grid([list(row) for row in answers_CMSS3])


def _prompts(options: Options) -> list[Prompt]:
    """The prompts that the flags name.

    Raises:
        ValueError: neither or both ways of giving prompts, or a line that is none.
    """
    if bool(options.images) == (options.input_file is not None):
        raise ValueError("give a prompt: either --images a.png b.png ... or --input_file=FILE")
    if options.input_file is None:
        if options.out is None:
            raise ValueError("--images needs --out=FILE, the picture to write")
        json_lines.require_files(options.images, "--images")
        return [Prompt(inputs=options.images, output=pathlib.Path(options.out), where="--images")]
    if options.out is not None:
        raise ValueError(f"--input_file names its own inputs and outputs; drop --out={options.out}")
    prompts = []
    for where, values in json_lines.read(options.input_file):
        output = values.get("output")
        if not isinstance(output, str):
            raise ValueError(f'{where}: "output" must be the picture to write')
        inputs = json_lines.paths(values, "input", where)
        prompts.append(Prompt(inputs=inputs, output=pathlib.Path(output), where=where))
    return prompts


def _check(options: Options, prompts: Sequence[Prompt]) -> None:
    """What can be known before anything is loaded.

    Raises:
        ValueError: an analogy without a query, an output that is no picture, or a scale of none.
    """
    from lvm_jax import images as images_lib

    if options.scale is not None and not options.wants_sheet:
        raise ValueError(f"--scale={options.scale} is of labelled pictures; add --sheet or drop it")
    for prompt in prompts:
        if options.prompt == "analogy" and len(prompt.inputs) % 2 == 0:
            raise ValueError(
                f"{prompt.where}: an analogy is pairs and a query, an odd number of images, not "
                f"{len(prompt.inputs)}; add the query, or use --prompt=sequence"
            )
        try:
            images_lib.written_format(prompt.output)
        except images_lib.ImageError as error:
            raise ValueError(f"{prompt.where}: {error}") from error


if __name__ == "__main__":
    cli.run(main, words="images")
