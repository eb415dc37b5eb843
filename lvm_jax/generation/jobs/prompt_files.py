"""A prompt as one file that can be passed on: JSON with the pictures inside.

{"format": 1, "layout": "analogy", "images": ["data:image/png;base64,...", ...], "targets": [],
 "answer": {"num_new_images": 1, "num_candidates": 4, "seed": 0, "temperature": 1.0, "top_k": 0,
 "top_p": 1.0}, "title": "", "attribution": ""}

`images` are example pairs and a query, or frames in order; `targets` the true new images as far as
they are known. All but `images` may be left out, and pictures may be of any format and size that
the tools read. The same file, model and tokenizer give the same answers wherever it is answered.
"""

import base64
import binascii
import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.sampling import SamplingConfig

FORMAT = 1
MOST_IMAGES = 256
# What the files of other formats than PNG begin with.
_STARTS = {b"\xff\xd8": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """The part of a prompt file that says how it is answered.

    Attributes:
        num_new_images: images of an answer.
        num_candidates: answers to draw.
        seed: of the drawing.
        temperature: 0 takes the most probable id each time.
        top_k: draw from this many most probable ids; 0 from all.
        top_p: draw from the most probable ids that make up this much probability.
    """

    num_new_images: int = 1
    num_candidates: int = 1
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        self.config()

    def config(self, layout: str = "sequence") -> AnswerConfig:
        """What the decoder is asked; a prompt that is too long is refused."""
        return AnswerConfig(
            num_new_images=self.num_new_images,
            num_candidates=self.num_candidates,
            seed=self.seed,
            sampling=SamplingConfig(
                temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
            ),
            images_per_example=2 if layout == "analogy" else 1,
            drop_oldest=False,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptFile:
    """A prompt with its pictures.

    Attributes:
        images: bytes of the picture files, in order.
        targets: of the true new images, as far as they are known.
        layout: analogy: example pairs and a query; sequence: any images.
        answer: how it is answered.
        title: what it is called.
        attribution: whose the pictures are.
    """

    images: tuple[bytes, ...]
    targets: tuple[bytes, ...] = ()
    layout: Literal["sequence", "analogy"] = "sequence"
    answer: Asked = dataclasses.field(default_factory=Asked)
    title: str = ""
    attribution: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.images) <= MOST_IMAGES:
            raise ConfigError(
                Field("images"),
                f" has {len(self.images)} pictures; a prompt has 1 to {MOST_IMAGES}",
            )
        if self.layout == "analogy" and len(self.images) % 2 == 0:
            raise ConfigError(
                Field("images"),
                f" has {len(self.images)} pictures; an analogy is pairs and a query, an odd "
                'number: add the query, or use "layout": "sequence"',
            )
        if len(self.targets) > self.answer.num_new_images:
            raise ConfigError(
                Field("targets"),
                f" has {len(self.targets)} pictures for {self.answer.num_new_images} new images; "
                "give fewer, or ask for more",
            )

    def values(self) -> dict[str, Any]:
        """What is written as JSON."""
        pictures = {"images": self.images, "targets": self.targets}
        return {
            "format": FORMAT,
            "title": self.title,
            "attribution": self.attribution,
            "layout": self.layout,
            "answer": dataclasses.asdict(self.answer),
            **{key: [as_url(data) for data in files] for key, files in pictures.items()},
        }

    def text(self) -> str:
        """The file."""
        return json.dumps(self.values(), indent=1)

    def unpack(self, folder: str | os.PathLike) -> tuple[list[str], list[str]]:
        """Writes the pictures into a folder: their paths, and those of the targets."""
        inside = pathlib.Path(folder)

        def write(name: str, files: tuple[bytes, ...]) -> list[str]:
            paths = [inside / f"{name}{number:03d}" for number in range(1, len(files) + 1)]
            for path, data in zip(paths, files):
                path.write_bytes(data)
            return [str(path) for path in paths]

        return write("image", self.images), write("target", self.targets)


def as_url(data: bytes) -> str:
    """The bytes of a picture file as a data: address."""
    kinds = (kind for start, kind in _STARTS.items() if data.startswith(start))
    return f"data:image/{next(kinds, 'png')};base64,{base64.b64encode(data).decode()}"


def parse(values: Any, where: str) -> PromptFile:
    """A prompt from what JSON gives.

    Args:
        values: the object.
        where: what errors call it.

    Raises:
        ValueError: another format, an unknown key, a bad value, or a picture that is no data:
            address; one line that names it.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: a prompt is an object in braces, not {str(values)[:60]!r}")
    kept = dict(values)
    if (version := kept.pop("format", FORMAT)) != FORMAT:
        raise ValueError(f"{where}: format={version!r} is not {FORMAT}, the only one there is")
    for key in ("images", "targets"):
        if key in kept:
            kept[key] = _pictures(kept[key], f"{where}: {key}")
    return configs.build_stored(PromptFile, kept, where)


def _pictures(urls: Any, where: str) -> list[bytes]:
    if not isinstance(urls, list | tuple):
        raise ValueError(f"{where} must be a list of pictures")
    pictures = []
    for number, url in enumerate(urls, 1):
        head, comma, body = url.partition(",") if isinstance(url, str) else ("", "", "")
        try:
            if not (comma and head.startswith("data:") and head.endswith(";base64")):
                raise binascii.Error("it begins otherwise")
            pictures.append(base64.b64decode(body, validate=True))
        except binascii.Error as error:
            raise ValueError(
                f"{where}: picture {number} is no data:image/...;base64,... address ({error})"
            ) from error
    return pictures


def loads(text: str | bytes, where: str) -> PromptFile:
    """A prompt from the text of a file; raises as `parse`."""
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON: {error}") from error
    return parse(values, where)


def read(path: str | os.PathLike) -> PromptFile:
    """A prompt from a file.

    Raises:
        ValueError: it cannot be read, or as `parse`; names the file.
    """
    try:
        text = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read the prompt {os.fspath(path)}: {error.strerror}") from error
    return loads(text, os.fspath(path))
