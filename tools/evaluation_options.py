"""What `evaluate.py` can be told."""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, Literal

from experiment_files import ExperimentFile
from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from model_options import ModelOptions
from picture_options import ReadingOptions

_Task = Literal[
    "perplexity",
    "analogies",
    "pixels",
    "segmentation",
    "foreground",
    "detection",
    "colorization",
    "depth",
    "normals",
    "edges",
    "inpainting",
    "keypoints",
    "frames",
    "pascal_segmentation",
    "pascal_detection",
    "imagenet_colorization",
]
TASKS = typing.get_args(_Task)[2:]
"""Those of `tasks.registry` and of `tasks.episodes`; said here so that flags need not wait."""

OWN_PICTURES = TASKS[-3:]
"""Those that find their pictures themselves."""
ALL = 10**9
"""More examples than there are."""


def integers(values: Sequence[str] | None, name: str) -> tuple[int, ...]:
    """A list flag's numbers.

    Raises:
        ConfigError: one is none; names the flag.
    """
    try:
        return tuple(int(value) for value in values or ())
    except ValueError as error:
        raise ConfigError(
            Field(name), f"={','.join(values or ())} must be whole numbers, such as 0,1,3"
        ) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskOptions(ReadingOptions, ModelOptions):
    """What is measured of which model.

    Attributes:
        task: what to do.
    """

    task: _Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analogies(TaskOptions):
    """Whole tasks of a model.

    Attributes:
        config: the experiment.
        out: directory to write to; perplexity without it is only printed.
    """

    config: ExperimentFile
    out: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions(TaskOptions):
    """Which pictures are asked about.

    Attributes:
        pairs: folder of pairs, whose other pairs make LVM's prompts; see above.
        support: folder of the pairs that prompts show; by default the others of --pairs.
        frames: folder with a folder of pictures for each clip.
        input_file: prompts of your own and their targets, one JSON object a line.
        shots: example pairs of a prompt, 5 by default. Several numbers, such as 0,1,3, are asked
            one after another with the same queries, and drawn as a curve.
        seeds: each chooses other examples.
        num_examples: of each seed, at most; 0 takes all there are.
        fsdp: devices that share the parameters, where there are several; the others have copies of
            them, and all share the rows.
    """

    pairs: str | None = None
    support: str | None = None
    frames: str | None = None
    input_file: str | None = None
    shots: tuple[str, ...] | None = None
    seeds: tuple[str, ...] = ("0",)
    num_examples: int = 0
    fsdp: int = 1

    def source(self) -> dict[str, Any]:
        """What is asked about, for the manifest."""
        names = ("pairs", "support", "frames", "input_file")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tasks(SourceOptions):
    """A task by its name.

    Attributes:
        out: directory to write to.
        config: experiment whose sources are asked about instead.
        options: of the task, such as num_labels=21; an unknown one says which there are. Those of
            pascal_segmentation, pascal_detection and imagenet_colorization name the pictures too.
        num_candidates: answers to each prompt; of several, the likeliest and the best are shown
            too.
        num_shown: examples in the report, from the best to the worst; at most as many as asked.
        score_truth: also how probable the true answer is, under the right prompt and others.
        temperature: how answers are drawn, 0 for the likeliest id at each step.
        top_k: ids that are drawn from; 0 for all.
        top_p: probability that the ids which are drawn from have at least.
        batch_size: rows per device batch.
    """

    out: str
    config: ExperimentFile | None = None
    options: tuple[str, ...] = ()
    num_candidates: int = 1
    num_shown: int = 3
    score_truth: bool = True
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    batch_size: int = 8

    def require_defaults_beside_config(self) -> None:
        """Refuses what a config says itself, which would otherwise be passed over.

        Raises:
            ConfigError: a flag that was given besides; named.
        """
        known = {field.name for field in dataclasses.fields(Analogies)} | {"options"}
        for field in dataclasses.fields(self):
            if field.name not in known and getattr(self, field.name) != field.default:
                raise ConfigError(
                    Field(field.name),
                    " is for pairs, frames and prompts of your own; a config says how much is "
                    "asked, in --config.evaluation",
                )

    def measure(self) -> dict[str, str]:
        """Options of the task by name, as they were given.

        Raises:
            ConfigError: one without "=".
        """
        pairs = [option.partition("=") for option in self.options]
        for name, equals, _ in pairs:
            if not equals:
                raise ConfigError(Field("options"), f"={name} must be NAME=VALUE,NAME=VALUE")
        return {name: value for name, _, value in pairs}

    def asking(self) -> dict[str, Any]:
        """Fields of `AskingConfig`; the number of examples is limited later to those there are."""
        names = ("num_candidates", "score_truth", "temperature", "top_k", "top_p", "batch_size")
        shots = integers(self.shots, "shots")
        number = self.num_examples or ALL
        if min(shots, default=0) < 0:
            raise ConfigError(Field("shots"), f"={min(shots)} must be at least 0")
        # Of prompts of the user even a single number takes their last pairs only.
        chosen = len(shots) > 1 or self.input_file is not None
        return {
            **{name: getattr(self, name) for name in names},
            "seeds": integers(self.seeds, "seeds"),
            "shots": shots if chosen else (),
            "num_examples": number,
            "num_answered": number,
            "num_shown": self.num_shown,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(SourceOptions):
    """Targets of prompts.

    Attributes:
        out: directory to write to; without it the result is only printed.
        context_images: images before the targets. Several numbers, such as 1,3,7, are scored with
            the same targets, and drawn as a curve.
        num_targets: last frames of a window of --frames.
        bos: whether rows begin with BOS: trained, with or without; several for each of them.
        over: the ids that share the probability; all: special ids too, as LVM's own.
        images_per_example: a prompt too long loses its oldest images this many at a time; 2 for
            pairs.
        batch_size: rows per device batch.
    """

    out: str | None = None
    context_images: tuple[str, ...] | None = None
    num_targets: int = 1
    bos: tuple[str, ...] = ("trained",)
    over: Literal["codes", "all"] = "codes"
    images_per_example: int = 1
    batch_size: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "images_per_example", "batch_size", "num_targets")

    def scoring(self) -> dict[str, Any]:
        """Fields of `ScoringConfig`."""
        names = ("num_examples", "bos", "over", "images_per_example", "batch_size")
        lists = ("seeds", "shots", "context_images")
        return {
            **{name: getattr(self, name) for name in names},
            **{name: integers(getattr(self, name), name) for name in lists},
        }
