"""What `evaluate.py` asks about: pairs, frames, prompts of the user."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import json_lines
from evaluation_options import Perplexity, SourceOptions, Tasks, integers
from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from lvm_jax.evaluation.asking.asking_config import AskingConfig
    from lvm_jax.evaluation.asking.manifest import Asked
    from lvm_jax.evaluation.asking.scoring_config import ScoringConfig
    from lvm_jax.evaluation.tasks.sequences import Sequences
    from lvm_jax.evaluation.tasks.task import Examples, Task
    from lvm_jax.generation.language_model import LanguageModel
    from lvm_jax.images import ImageConfig
    from lvm_jax.pictures.loader import SquareLoader
    from lvm_jax.pretrained.places import Pair
    from lvm_jax.tokenizer.codec import Tokenizer

Lines = list[tuple[str, dict[str, Any]]]
_CACHE_BYTES = 256 * 2**20
_SHOTS = 5  # LVM's own number
_PLACES = ("folder", "lists")  # options of protocols that say where their pictures are


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """What is evaluated.

    Attributes:
        model, tokenizer: loaded.
        pair: where they lie.
        image_config: how pictures are read.
        loader: reads them.
    """

    model: "LanguageModel"
    tokenizer: "Tokenizer"
    pair: "Pair"
    image_config: "ImageConfig"
    loader: "SquareLoader"

    @classmethod
    def of(cls, options: Tasks | Perplexity, pair: "Pair") -> "Opened":
        """Loads a pair to be asked what the options say.

        Raises:
            ValueError: the tokenizer is not the model's, or one of them cannot be read.
        """
        import lvm_jax
        from lvm_jax import image_record
        from lvm_jax.pictures.loader import SquareLoader

        tokenizer = lvm_jax.load_tokenizer(pair.tokenizer)
        model = lvm_jax.load_model(pair.model, mesh=_mesh(options.fsdp), tokenizer=tokenizer)
        config = image_record.config_for(model.images, pair.model, options.changes())
        loader = SquareLoader(config, tokenizer.image_size, _CACHE_BYTES)
        return cls(model=model, tokenizer=tokenizer, pair=pair, image_config=config, loader=loader)

    def asked(self, options: Tasks | Perplexity, settings: Any) -> "Asked":
        """What the manifest says of an evaluation that the options ask for."""
        from lvm_jax.evaluation.asking.manifest import Asked

        is_task = isinstance(options, Tasks)
        how, source = recorded(options) if is_task else ({}, options.source())
        return Asked(
            model=self.model,
            tokenizer=self.tokenizer,
            names={"model": self.pair.model, "tokenizer": self.pair.tokenizer},
            image_config=self.image_config,
            task={options.task: how},
            settings=settings,
            source=source,
        )


def _mesh(fsdp: int) -> "Mesh | None":
    """Of all devices; None for one.

    Raises:
        ConfigError: they cannot be grouped so.
    """
    import jax

    from lvm_jax import mesh as mesh_lib

    number = len(jax.devices())
    if fsdp < 1 or number % fsdp:
        raise ConfigError(Field("fsdp"), f"={fsdp} must divide the number of devices, {number}")
    if number == 1:
        return None
    config = mesh_lib.MeshConfig(data=number // fsdp, fsdp=fsdp)
    return mesh_lib.make_mesh(config)


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


def task(options: Tasks, opened: Opened) -> tuple["Task", int]:
    """What is asked and measured, and how many different examples there are.

    Raises:
        ValueError: pictures that cannot be found, too few of them, an unknown option, or prompts
            that the context has no room for.
    """
    from lvm_jax.evaluation.tasks import episodes, registry

    measured, asked = chosen(options)
    if asked is None:
        shots = integers(options.shots, "shots") or (_SHOTS,)
        found, number = _examples(options, max(shots), opened)
        return registry.KINDS[options.task].build(found, measured), number
    if options.source():
        raise ValueError(f"--task={options.task} finds its own pictures: --options=folder=DIR")
    require_room(opened, asked.num_pairs, f"--task={options.task}")
    protocol = episodes.EPISODES[options.task]
    found = protocol.build(options.task, asked, opened.loader)
    return registry.KINDS[protocol.task].build(found, measured), asked.num_episodes


def chosen(options: Tasks) -> tuple[Any, Any]:
    """Options of the task, and those of a protocol that chooses its examples; None of others.

    Raises:
        ConfigError: an unknown option, or a bad value; named.
    """
    from lvm_jax.evaluation.tasks import episodes, registry

    protocol, own = episodes.EPISODES.get(options.task), options.measure()
    kind = registry.KINDS[options.task if protocol is None else protocol.task]
    names = {field.name for field in dataclasses.fields(protocol.options)} if protocol else set()
    rest = {name: value for name, value in own.items() if name not in names}
    measured = configs.build(kind.options, typed(rest, kind.options), "options")
    if protocol is None:
        return measured, None
    asked = {name: value for name, value in own.items() if name in names}
    if shots := integers(options.shots, "shots"):
        asked["num_pairs"] = str(max(shots))
    return measured, configs.build(protocol.options, typed(asked, protocol.options), "options")


def typed(values: Mapping[str, str], options: type[Any]) -> dict[str, Any]:
    """Text as the fields of a dataclass want it; what fits none is left for it to refuse."""
    hints = typing.get_type_hints(options)
    return {
        name: value if hints.get(name) is str else _parsed(value) for name, value in values.items()
    }


def _parsed(value: str) -> Any:
    """A flag's text as a number, a truth value or nothing where it is one."""
    for parse in (int, float):
        try:
            return parse(value)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(value.lower(), value)


def recorded(options: Tasks) -> tuple[dict[str, Any], dict[str, Any]]:
    """For the manifest: how a task is measured, defaults included; and where its pictures lie."""
    measured, asked = chosen(options)
    how = configs.to_dict(measured)
    if asked is None:
        if options.input_file is None:
            how["example_pairs"] = list(integers(options.shots, "shots") or (_SHOTS,))
        return how, options.source()
    how |= configs.to_dict(asked)
    return how, {name: how.pop(name) for name in _PLACES if name in how}


def require_room(opened: Opened, num_pairs: int, where: str) -> None:
    """Refuses prompts of so many pairs and a query that leave no room for an answer.

    Raises:
        ValueError: says how many images fit.
    """
    whole = opened.model.config.context // opened.tokenizer.tokens_per_image
    if 2 * num_pairs + 2 > whole:
        raise ValueError(
            f"{where}: {num_pairs} pairs, a query and its answer are {2 * num_pairs + 2} images, "
            f"but a context of {opened.model.config.context} ids holds {whole}: "
            f"at most {max(0, whole // 2 - 1)} pairs"
        )


def _examples(options: Tasks, shots: int, opened: Opened) -> tuple["Examples", int]:
    """What a task asks of pairs, frames or prompts, and how many different ones there are."""
    from lvm_jax.evaluation.tasks.frame_examples import FrameExamples
    from lvm_jax.evaluation.tasks.prompt_lists import ListedExamples, ListedPrompt

    loader = opened.loader
    if options.input_file is None:
        require_room(opened, shots, "--shots")
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
        require_room(opened, len(images) // 2, where)
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
    """What results are called, wherever the pictures lie: the task, or of perplexity their kind."""
    if options.task != "perplexity":
        return options.task
    kinds = {"pairs": options.pairs, "frames": options.frames, "prompts": options.input_file}
    return next(kind for kind, given in kinds.items() if given is not None)


def limited(config: "AskingConfig", number: int) -> "AskingConfig":
    """As many examples as there are: a query twice would make standard errors too small."""
    number = min(config.num_examples, number)
    return dataclasses.replace(config, num_examples=number, num_answered=number)


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
