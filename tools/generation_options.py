"""What `generate.py` can be told."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from model_options import ModelOptions
from picture_options import ReadingOptions

if TYPE_CHECKING:
    from lvm_jax.generation.answer_config import AnswerConfig
    from lvm_jax.generation.jobs.job import Drawing, Job

LAYOUTS = ("sequence", "analogy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answering(ReadingOptions, ModelOptions):
    """Which model answers, how it computes, and what is drawn.

    Attributes:
        include_input: write the prompt's images in front of the new ones.
        original_size: new images get the size and aspect ratio that the last image of the prompt
            had; where it was cropped, the rest is gray.
        scale: how many times their size images are drawn; by default those of a labelled picture
            large enough to see something, others as they are.
        step: checkpoint of a training; by default the newest whole one.
        ema: take the training's average of its parameters.
        dtype: what the model computes in; by default what its config.json says.
        weights: precision of the matrices while codes are drawn; compute is the model's own, others
            need less memory and time and change answers a little.
        cache: precision of the keys and values of what was read.
        batch_size: answers decoded at a time.
    """

    include_input: bool = False
    original_size: bool = False
    scale: int | None = None
    step: int | None = None
    ema: bool = False
    dtype: Literal["float32", "bfloat16"] | None = None
    weights: Literal["compute", "bfloat16", "int8"] = "compute"
    cache: Literal["compute", "bfloat16"] = "compute"
    batch_size: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "batch_size", "scale")

    def drawing(self, form: Literal["sheet", "grid", "files"]) -> "Drawing":
        """What is written of an answer that is no clip."""
        from lvm_jax.generation.jobs.job import Drawing

        return Drawing(
            form=form,
            include_input=self.include_input,
            original_size=self.original_size,
            scale=self.scale,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asking(Answering):
    """What is asked.

    Attributes:
        num_new_images: images to add.
        num_candidates: answers to draw; by default 1, or as many as a prompt file says.
        seed: of the drawing; by default 0, or the prompt file's.
        temperature: 0 takes the most probable code each time.
        top_k: draw from this many most probable codes; 0: from all.
        top_p: draw from the codes that make up this much probability.
    """

    num_new_images: int = 1
    num_candidates: int = 1
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "num_new_images", "num_candidates")

    def answer(self, *, drop_oldest: bool, images_per_example: int = 1) -> "AnswerConfig":
        """What is asked of a prompt."""
        from lvm_jax.generation.answer_config import AnswerConfig
        from lvm_jax.generation.sampling import SamplingConfig

        return AnswerConfig(
            num_new_images=self.num_new_images,
            num_candidates=self.num_candidates,
            seed=self.seed,
            sampling=SamplingConfig(
                temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
            ),
            images_per_example=images_per_example,
            drop_oldest=drop_oldest,
            batch_size=self.batch_size,
            weights=self.weights,
            cache=self.cache,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompts(Asking):
    """How prompts are laid out, and what is drawn of their answers.

    Attributes:
        prompt: analogy: example pairs and a query, checked to be odd in number; sequence: any
            images; or a prompt file or the name of one that ships, see above.
        drop_oldest: a prompt that is too long loses its oldest images (of analogies, whole pairs)
            instead of being refused.
        sheet: draw the prompt, its answers and the truth with labels, or only the answers; by
            default with --images.
        files: write each candidate's every new image into a file of its own.
    """

    prompt: str = "sequence"
    drop_oldest: bool = False
    sheet: bool | None = None
    files: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt not in LAYOUTS:
            raise ConfigError(
                Field("prompt"),
                f"={self.prompt} must be one of {', '.join(LAYOUTS)}; a prompt file, or a "
                "prompt that ships, has its own pictures and is answered alone",
            )
        _refuse_sheet_of_files(self.sheet, self.files)

    def job(
        self, inputs: Sequence[str], output: str, where: str, *, sheet: bool, **more: Any
    ) -> "Job":
        """The job of one prompt; `sheet` is what it is by default."""
        from lvm_jax.generation.jobs.job import Job, Picture

        per_example = 2 if self.prompt == "analogy" else 1
        answer = self.answer(drop_oldest=self.drop_oldest, images_per_example=per_example)
        with configs.within("", layout="prompt"):
            return Job(
                images=tuple(Picture(path=name) for name in inputs),
                output=output,
                layout="analogy" if self.prompt == "analogy" else "sequence",
                answer=dataclasses.replace(answer, seed=more.pop("seed", self.seed)),
                drawing=self.drawing("files" if self.files else "sheet" if sheet else "grid"),
                where=where,
                **more,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnePrompt(Prompts):
    """One prompt.

    Attributes:
        images: of one prompt, in order: --images a.png b.png c.png ...
        out: picture to write, or with --frames a GIF, a video such as .mp4, or a folder.
    """

    images: tuple[str, ...]
    out: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManyPrompts(Prompts):
    """A file of prompts.

    Attributes:
        input_file: many prompts, one JSON line each.
        overwrite: replace outputs that were made with other settings, or by others.
    """

    input_file: str
    overwrite: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedPrompt(Answering):
    """A prompt file.

    Attributes:
        prompt: file with pictures and settings, as the page of tools/demo.py saves it, or the name
            of one that ships, such as emoji_mask.
        num_candidates: answers to draw; by default as many as the file says.
        seed: of the drawing; by default the file's.
        out: picture to write.
        sheet: draw the prompt, its answers and the truth with labels (the default), or only the
            answers.
        files: write each candidate's every image into a file of its own.
    """

    prompt: str
    out: str
    num_candidates: int | None = None
    seed: int | None = None
    sheet: bool | None = None
    files: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_sheet_of_files(self.sheet, self.files)

    def overrides(self) -> dict[str, int]:
        """What is answered otherwise than the file says."""
        given = {"num_candidates": self.num_candidates, "seed": self.seed}
        return {name: value for name, value in given.items() if value is not None}


def _refuse_sheet_of_files(sheet: bool | None, files: bool) -> None:
    if files and sheet:
        raise ValueError("--sheet draws one picture and --files one for each image; drop one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuation(Asking):
    """A clip.

    Attributes:
        frames: clip to continue: a video, a GIF, a folder, a pattern, or pictures with commas
            between.
        out: a GIF, a video such as .mp4, or a folder of frames.
        num_frames: frames of the prompt; by default as many as fit beside a new one.
        start: the first of them, from 0; by default those that the clip ends with.
        stride: frames of the clip from one to the next.
        fps: frames per second of --out; by default the clip's own by the stride.
        overwrite: replace a folder's frames that were made with other settings, or by others.
    """

    frames: str
    out: str
    num_frames: int | None = None
    start: int | None = None
    stride: int = 1
    fps: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "num_frames", "stride")
        configs.require_at_least(self, 0, "start")
