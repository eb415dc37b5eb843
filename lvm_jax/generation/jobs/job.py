"""What is asked of a model, in full: pictures, settings, and what becomes of the answer.

A job is plain data: a command line fills it, and so could a file (`configs.build(Job, ...)`).
"""

import dataclasses
import pathlib
from typing import Literal

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.reference import ImageRef


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture file, or a frame of a video or animation.

    Attributes:
        path: of the file.
        frame: which one, from 0; -1 for a picture file.
        name: what records call it, where its path says nothing to anybody later.
    """

    path: str
    frame: int = -1
    name: str = ""

    @property
    def ref(self) -> ImageRef:
        """What loaders take."""
        return ImageRef(path=self.path, frame=self.frame)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """What is written of an answer.

    Attributes:
        form: sheet: one picture of the prompt and its answers with labels, enlarged; grid: one
            picture of a row per candidate and a column per new image, which is the image itself if
            there is one; files: a picture for each; clip: a GIF or video per candidate, or a folder
            of frames where the output has no extension.
        include_input: the prompt's images come before the new ones.
        original_size: images get the size and aspect ratio of the query, which is the last picture
            of the prompt, before it became square. Where it was cropped, the rest is gray.
        scale: how many times their size images are drawn; None makes those of a sheet readable and
            leaves others as they are.
        frames_per_second: of a clip.
    """

    form: Literal["sheet", "grid", "files", "clip"] = "grid"
    include_input: bool = False
    original_size: bool = False
    scale: int | None = None
    frames_per_second: float = 8.0

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "scale")
        if not 0 < self.frames_per_second <= 1000:
            raise ConfigError(
                Field("frames_per_second"),
                f"={self.frames_per_second} must be above 0 and at most 1000",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One prompt, what is asked of the model, and where the answer goes.

    Attributes:
        images: of the prompt, in order.
        output: file to write, or folder of frames; what `Drawing.form` makes of it.
        targets: the true new images, as far as they are known.
        layout: analogy: example pairs and a query; sequence: any images.
        answer: what is asked.
        reading: how files are read; None as the pictures that the model learned from.
        drawing: what is written.
        where: what messages call the job.
    """

    images: tuple[Picture, ...]
    output: str
    targets: tuple[Picture, ...] = ()
    layout: Literal["sequence", "analogy"] = "sequence"
    answer: AnswerConfig = dataclasses.field(default_factory=AnswerConfig)
    reading: ImageConfig | None = None
    drawing: Drawing = dataclasses.field(default_factory=Drawing)
    where: str = "the prompt"

    def __post_init__(self) -> None:
        number, new = len(self.images), self.answer.num_new_images
        if number < 1:
            raise ValueError(f"{self.where}: a prompt needs at least one image")
        if self.layout == "analogy" and number % 2 == 0:
            raise ConfigError(
                f"{self.where}: an analogy is pairs and a query, an odd number of images, not "
                f"{number}; add the query, or use ",
                Field("layout"),
                "=sequence",
            )
        if len(self.targets) > new:
            raise ValueError(
                f"{self.where}: {len(self.targets)} targets for {new} new images; ask for more, or "
                "give fewer"
            )

    @property
    def path(self) -> pathlib.Path:
        """`output` as a path."""
        return pathlib.Path(self.output)
