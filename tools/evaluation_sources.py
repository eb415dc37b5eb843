"""What `evaluate.py` asks about: pairs, frames, prompts of the user."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import json_lines
from evaluation_options import Perplexity, SourceOptions, Tasks, integers
from lvm_jax.configs import ConfigError, Field

if TYPE_CHECKING:
    from lvm_jax.evaluation.asking.asking_config import AskingConfig
    from lvm_jax.evaluation.asking.scoring_config import ScoringConfig
    from lvm_jax.evaluation.tasks.sequences import Sequences
    from lvm_jax.evaluation.tasks.task import Examples
    from lvm_jax.generation.language_model import LanguageModel
    from lvm_jax.images import ImageConfig
    from lvm_jax.pictures.loader import SquareLoader
    from lvm_jax.tokenizer.codec import Tokenizer

Lines = list[tuple[str, dict[str, Any]]]
_CACHE_BYTES = 256 * 2**20
_SHOTS = 5  # LVM's own number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """What is evaluated.

    Attributes:
        model, tokenizer: loaded.
        image_config: how pictures are read.
        loader: reads them.
    """

    model: "LanguageModel"
    tokenizer: "Tokenizer"
    image_config: "ImageConfig"
    loader: "SquareLoader"

    @classmethod
    def of(cls, options: Tasks | Perplexity) -> "Opened":
        """Loads what the options name.

        Raises:
            ValueError: the tokenizer is not the model's, or one of them cannot be read.
        """
        import lvm_jax
        from lvm_jax import image_record
        from lvm_jax.pictures.loader import SquareLoader

        tokenizer = lvm_jax.load_tokenizer(options.tokenizer)
        model = lvm_jax.load_model(options.model)
        model.check_tokenizer(tokenizer)
        config = image_record.config_for(model.images, options.model, options.changes())
        loader = SquareLoader(config, tokenizer.image_size, _CACHE_BYTES)
        return cls(model=model, tokenizer=tokenizer, image_config=config, loader=loader)


def require_one(options: SourceOptions) -> None:
    """Refuses options that name no pictures, or several.

    Raises:
        ValueError: says which there are.
    """
    given = [name for name in options.source() if name != "support"]
    if len(given) != 1:
        got = " and ".join(f"--{name}" for name in given) or "none of them"
        raise ValueError(f"give one of --pairs, --frames and --input_file, not {got}")
    if options.support is not None and options.pairs is None:
        raise ValueError("--support is for --pairs, whose prompts show the pairs of it")


def read_lines(file: str | None) -> Lines:
    """The prompts of a file, if there is one; each has its images and its targets."""
    lines = [] if file is None else json_lines.read(file)
    for where, values in lines:
        for key in ("input", "target"):
            json_lines.paths(values, key, where)
    return lines


def examples(options: Tasks, loader: "SquareLoader") -> tuple["Examples", int]:
    """What a task asks, and how many different ones there are.

    Raises:
        ValueError: pictures that cannot be found, or too few of them.
    """
    from lvm_jax.evaluation.tasks.frame_examples import FrameExamples
    from lvm_jax.evaluation.tasks.prompt_lists import ListedExamples, ListedPrompt

    shots = max(integers(options.shots, "shots"), default=_SHOTS)
    if options.pairs is not None:
        return _pairs(options, shots, loader)
    if options.frames is not None:
        frames = _frames(options, 2 * shots + 2, 1, loader)
        return FrameExamples(frames=frames), frames.num_sequences
    prompts = []
    for where, values in read_lines(options.input_file):
        images, target = values["input"], values["target"]
        if len(target) != 1:
            raise ValueError(f'{where}: "target" must be one image, the answer to the query')
        prompts.append(ListedPrompt(images=tuple(images), answer=target[0], where=where))
    return ListedExamples(name=_name(options), prompts=prompts, loader=loader), len(prompts)


def _pairs(
    options: Tasks | Perplexity, shots: int, loader: "SquareLoader"
) -> tuple["Examples", int]:
    from lvm_jax.evaluation.tasks import pair_folders
    from lvm_jax.evaluation.tasks.pair_folders import PairExamples

    assert options.pairs is not None
    pairs = pair_folders.find(options.pairs)
    support = pairs if options.support is None else pair_folders.find(options.support)
    found = PairExamples(
        name=_name(options), pairs=pairs, support=support, num_pairs=shots, loader=loader
    )
    return found, len(pairs)


def _frames(
    options: Tasks | Perplexity, num_frames: int, num_targets: int, loader: "SquareLoader"
) -> Any:
    from lvm_jax.evaluation.tasks import sequences as sequences_lib

    assert options.frames is not None
    return sequences_lib.FrameFolders(
        name=_name(options),
        folders=sequences_lib.find_frames(options.frames),
        num_frames=num_frames,
        num_targets=num_targets,
        loader=loader,
    )


def _name(options: Tasks | Perplexity) -> str:
    """What results are called: the task, or of perplexity its pictures."""
    if options.task != "perplexity":
        return options.task
    given = options.pairs or options.frames or options.input_file
    return pathlib.Path(str(given)).stem or options.task


def limited(config: "AskingConfig", number: int) -> "AskingConfig":
    """As many examples as there are: a query twice would make standard errors too small."""
    number = min(config.num_examples, number)
    return dataclasses.replace(
        config,
        num_examples=number,
        num_answered=number,
        num_shown=min(config.num_shown, number),
    )


def sequences(
    options: Perplexity, config: "ScoringConfig", lines: Lines, loader: "SquareLoader"
) -> "Sequences":
    """What perplexity scores.

    Raises:
        ValueError: pictures that cannot be found, too few of them, or an unknown length.
    """
    from lvm_jax.evaluation.tasks.sequences import ListedSequence, ListedSequences, PairSequences

    if options.pairs is not None:
        shots = max(config.shots, default=_SHOTS)
        if config.context_images:
            raise ConfigError(Field("context_images"), " is for frames; pairs take --shots")
        asked, number = _pairs(options, shots, loader)
        return PairSequences(examples=asked, num_sequences=number)
    if options.frames is not None:
        if not config.most_images:
            raise ConfigError(
                Field("context_images"), " is not set; say how many frames stand before the targets"
            )
        number = config.most_images + options.num_targets
        return _frames(options, number, options.num_targets, loader)
    listed = [
        ListedSequence(images=tuple(values["input"]), targets=tuple(values["target"]), where=where)
        for where, values in lines
    ]
    return ListedSequences(name=_name(options), listed=listed, loader=loader)
