"""A whole evaluation: trained model, tokenizer and held-out pictures -> scores and a report."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lvm_jax import atomic, configs, image_record, images, trees
from lvm_jax.data.feeding import selection
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.shards.reader import Shards
from lvm_jax.evaluation.analogies import asking
from lvm_jax.evaluation.analogies.asking import AnalogyConfig
from lvm_jax.evaluation.analogies.examples import SentenceTask
from lvm_jax.evaluation.analogies.scores import TaskResult
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.report import answers_picture, charts, losses, next_steps, page
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.measures import codes
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from lvm_jax.sentences.sources import Source
from lvm_jax.tokenizer import measuring
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.tokenizer.measuring import Measurement
from lvm_jax.training import metrics as metrics_lib
from lvm_jax.training import workdir as workdir_lib
from lvm_jax.version import __version__

SCORES_FILE = "analogies.json"
REPORT_FILE = "report.html"
PICTURE_FILE = "answers.png"
# Of SCORES_FILE. 2: the values of every prompt, and a verdict in place of "learned".
VERSION = 2
# Enough sentences for the frequencies of codes; a corpus may have billions.
MOST_COUNTED = 20_000
_PICTURE_CACHE_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalogyExperiment:
    """What is evaluated.

    Attributes:
        title: heads the report.
        tasks: sources of pairs from held-out pictures, one task each.
        reconstructions: sources of held-out pictures to show through the tokenizer.
        num_reconstructions: how many, the sources taking turns.
        shards: directory of the training data, for the frequencies of codes; "" takes the one that
            the model's own config names.
        images: what is to be read otherwise than the pictures that the model learned from, as
            fields of `images.ImageConfig`, such as {"resize": "squash"}.
        evaluation: how much is measured.
        commands: (what it is good for, command line) pairs that the report ends with, besides the
            one that asks the model.
    """

    title: str = "lvm_jax"
    tasks: tuple[Source, ...]
    reconstructions: tuple[Source, ...] = ()
    num_reconstructions: int = 16
    shards: str = ""
    images: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluation: AnalogyConfig = dataclasses.field(default_factory=AnalogyConfig)
    commands: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        if not self.tasks:
            raise ValueError("config.tasks is empty; name at least one source of pairs")
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"config.tasks: names {names} must differ; give each task its own")
        for task in self.tasks:
            if task.images_per_sentence < 4:
                raise ValueError(
                    f"config.tasks: {task.name} has sentences of {task.images_per_sentence} "
                    "image(s); an analogy takes a source of pairs with pairs_per_sentence >= 2"
                )
        configs.build(images.ImageConfig, self.images, "config.images")  # refuses bad values early


def build_experiment(values: Mapping[str, Any]) -> AnalogyExperiment:
    """Builds an experiment from plain values; sources as in `compose.build_corpus`.

    Raises:
        ValueError: an unknown key or kind, or a value that does not fit; named.
    """
    values = dict(values)
    for key in ("tasks", "reconstructions"):
        values[key] = corpora.build_sources(values.get(key, ()), f"config.{key}")
    return configs.build(AnalogyExperiment, values, "config")


def run(
    experiment: AnalogyExperiment,
    model: LanguageModel,
    tokenizer: Tokenizer,
    out: pathlib.Path,
    *,
    model_dir: pathlib.Path,
    tokenizer_dir: pathlib.Path,
    progress: Callable[[str], Any] | None = None,
) -> tuple[TaskResult, ...]:
    """Evaluates, and writes analogies.json, answers.png and report.html into `out`.

    Args:
        experiment: what to measure.
        model, tokenizer: loaded.
        out: directory, made when missing.
        model_dir: the model's workdir, for its configuration and training curves.
        tokenizer_dir: the tokenizer's; curves come from metrics.jsonl in it or beside it.
        progress: called with what begins, `num_parts` times.

    Raises:
        ValueError: the tokenizer is not the model's, or pictures or shards are missing.
    """
    started = time.monotonic()
    model.check_tokenizer(tokenizer)
    resolved = workdir_lib.read_config(model_dir)
    counts = code_counts(experiment, model, resolved)
    how = image_record.config_for(model.images, str(model_dir), experiment.images)
    loader = SquareLoader(how, tokenizer.image_size, _PICTURE_CACHE_BYTES)
    tasks = [SentenceTask(source=source, loader=loader) for source in experiment.tasks]
    results = asking.evaluate(
        model,
        tokenizer,
        tasks,
        perplexity.unigram(counts),
        experiment.evaluation,
        progress=progress,
    )
    _write_scores(out / SCORES_FILE, experiment, how, results)
    picture = answers_picture.draw(results)
    if picture is not None:
        images.write_image(out / PICTURE_FILE, picture)
    if progress is not None:
        progress("report")
    tokenizer_lines = _metrics_near(tokenizer_dir)
    model_lines = metrics_lib.read_metrics(model_dir)
    seconds = [metrics_lib.training_seconds(lines) for lines in (tokenizer_lines, model_lines)]
    timings = {"tokenizer training": seconds[0], "transformer training": seconds[1]}
    timings["evaluation"] = time.monotonic() - started
    page.write(
        out / REPORT_FILE,
        page.Report(
            title=experiment.title,
            results=results,
            num_codes=tokenizer.num_codes,
            reconstructions=_reconstructions(experiment, tokenizer, loader),
            code_counts=counts,
            tokenizer_charts=_tokenizer_charts(tokenizer_lines),
            model_charts=_model_charts(model_lines, counts),
            losses=losses.from_metrics(model_lines),
            tiles=_tiles(model, seconds),
            commands=_commands(experiment, model_dir, tokenizer_dir, out),
            facts=_facts(experiment, model, tokenizer, how, resolved, timings, model_lines),
        ),
    )
    return results


def num_parts(experiment: AnalogyExperiment) -> int:
    """How often `run` calls progress."""
    return len(experiment.tasks) * len(experiment.evaluation.seeds) + 1


def code_counts(
    experiment: AnalogyExperiment, model: LanguageModel, resolved: Mapping[str, Any]
) -> np.ndarray:
    """How often the model's training data use each code; int64 [num_codes].

    Only what the training reads of its shards counts, as far as the experiment names no others.

    Raises:
        ValueError: no shards are named, they cannot be read, or they have another codebook.
    """
    data = {"shards": experiment.shards} if experiment.shards else resolved.get("data", {})
    if not data:
        raise ValueError("config.shards is not set and the model's config names no shards; set it")
    # In runs of earlier versions; it says nothing about the shards.
    data = {key: value for key, value in data.items() if key != "accept_changed"}
    config = configs.build(DataConfig, data, "the model's config.data")
    total = np.zeros(model.vocabulary.num_codes, np.int64)
    for source in config.mixture or (None,):
        shards = Shards((source and source.shards) or config.shards)
        if shards.vocabulary.num_codes != model.vocabulary.num_codes:
            raise ValueError(
                f"shards {shards.directory} have {shards.vocabulary.num_codes} codes and the model "
                f"{model.vocabulary.num_codes}; set config.shards to the model's training data"
            )
        total += _count(shards, selection.select(shards, selection.of_source(source, config.split)))
    return total


def _count(shards: Shards, taken: np.ndarray | None) -> np.ndarray:
    """Codes of some sentences, or of all; of a part of them where there are very many."""
    number = len(shards) if taken is None else len(taken)
    chosen = np.unique(np.linspace(0, number - 1, min(number, MOST_COUNTED)).astype(int))
    chosen = chosen if taken is None else taken[chosen]
    groups = np.array_split(chosen, max(1, len(chosen) // 512))
    num_codes = shards.vocabulary.num_codes
    total = np.zeros(num_codes, np.int64)
    for group in groups:
        ids = np.concatenate([ids.ravel() for ids in shards.read(group)])
        total += codes.histogram(ids, num_codes)
    return total


def _tiles(model: LanguageModel, seconds: Sequence[float]) -> tuple[tuple[str, str], ...]:
    """How large the model is, and how long both trainings took if that is known."""
    size = (_abbreviated(trees.count_parameters(model.params)), "parameters in the transformer")
    if not all(seconds):
        return (size,)
    return size, (_duration(sum(seconds)), f"of training, both models, on {_devices()}")


def _commands(
    experiment: AnalogyExperiment,
    model_dir: pathlib.Path,
    tokenizer_dir: pathlib.Path,
    out: pathlib.Path,
) -> tuple[tuple[str, str], ...]:
    temperature = experiment.evaluation.temperature
    ask = next_steps.ask(model_dir, tokenizer_dir, out, experiment.tasks[0], temperature)
    return (ask, *experiment.commands)


def _reconstructions(
    experiment: AnalogyExperiment, tokenizer: Tokenizer, loader: SquareLoader
) -> Measurement | None:
    sources = experiment.reconstructions
    if not sources or not experiment.num_reconstructions:
        return None
    pictures = []
    for number in range(experiment.num_reconstructions):
        turn, which = divmod(number, len(sources))
        epoch, index = divmod(turn, sources[which].num_sentences())
        sentence = sources[which].sentence(experiment.evaluation.seeds[0], epoch, index)
        pictures.append(loader.load_one(sentence.images[0]))
    originals = np.stack(pictures)
    return measuring.measure(
        measuring.with_tokenizer(tokenizer),
        [originals],
        tokenizer.num_codes,
        num_shown=len(originals),
    )


def _metrics_near(tokenizer_dir: pathlib.Path) -> list[dict[str, Any]]:
    # A training writes its tokenizer into workdir/tokenizer, and its metrics into workdir.
    for folder in (tokenizer_dir, tokenizer_dir.absolute().parent):
        lines = metrics_lib.read_metrics(folder)
        if lines:
            return lines
    return []


def _tokenizer_charts(lines: Sequence[Mapping[str, Any]]) -> tuple[charts.Chart, ...]:
    chosen = [
        ("Reconstruction", "PSNR in dB", "(train|eval/.*)/psnr"),
        ("Codes in use", "share of the codebook", "(train|eval/.*)/codebook_usage"),
        ("Loss", "loss", "train/loss"),
    ]
    made = [_chart(lines, title, unit, names) for title, unit, names in chosen]
    return tuple(chart for chart in made if chart is not None)


def _model_charts(
    lines: Sequence[Mapping[str, Any]], counts: np.ndarray
) -> tuple[charts.Chart, ...]:
    levels = {"unigram of the codes": codes.entropy(counts)}
    chart = _chart(lines, "Loss", "nats per id", "(train|eval/.*)/loss", levels)
    return () if chart is None else (chart,)


def _chart(lines, title, unit, names, levels=None) -> charts.Chart | None:
    curves = charts.curves_from_metrics(lines, names)
    if not curves:
        return None
    return charts.Chart(title=title, unit=unit, curves=curves, levels=levels or {})


def _write_scores(
    path: pathlib.Path,
    experiment: AnalogyExperiment,
    how: images.ImageConfig,
    results: Sequence[TaskResult],
) -> None:
    content = {
        "version": VERSION,
        "evaluation": configs.to_dict(experiment.evaluation),
        "image_config": configs.to_dict(how),
        "tasks": [result.to_json() for result in results],
    }
    atomic.write_json(path, content, parents=True)


def read_scores(path: str | pathlib.Path) -> tuple[TaskResult, ...]:
    """The results in an analogies.json, without pictures.

    Raises:
        ValueError: no such file, or one of another version or kind; names it.
    """
    path = pathlib.Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    found = content.get("version") if isinstance(content, dict) else None
    if found != VERSION:
        raise ValueError(
            f"{path} has version={found} of scores, this code reads {VERSION}; evaluate again"
        )
    return tuple(TaskResult.from_json(task) for task in content["tasks"])


def _facts(experiment, model, tokenizer, how, resolved, timings, model_lines) -> dict[str, Any]:
    """Section -> name -> value for the end of the report."""
    steps = max((line["step"] for line in model_lines), default=0)
    rates = [value for line in model_lines for key, value in line.items() if _is_rate(key)]
    speed = {"transformer speed": f"{np.median(rates):,.0f} ids/s per device"} if rates else {}
    training = {"steps": f"{steps:,}"} if steps else {}
    if "batch_size" in resolved:
        training["rows per batch"] = resolved["batch_size"]
    training |= _flat(resolved.get("optimizer", {}))
    return {
        "Timings": {name: _duration(value) for name, value in timings.items() if value}
        | speed
        | {"devices": _devices(), "software": f"lvm_jax {__version__}, jax {jax.__version__}"},
        "Transformer": {"parameters": f"{trees.count_parameters(model.params):,}"}
        | _flat(configs.to_dict(model.config)),
        "Transformer training": training,
        "Tokenizer": {"parameters": f"{trees.count_parameters(tokenizer.params):,}"}
        | {
            "tokens per image": tokenizer.tokens_per_image,
            "fingerprint": tokenizer.fingerprint[:12],
        }
        | _flat(configs.to_dict(tokenizer.config)),
        "Evaluation": _flat(configs.to_dict(experiment.evaluation))
        | {"pictures read with": image_record.describe(how)}
        | {f"task {task.name}": _describe(task) for task in experiment.tasks},
    }


def _describe(task: Source) -> str:
    pictures = ", ".join(picture.key for picture in task.items[:6])
    more = len(task.items) - 6
    return f"{task.images_per_sentence // 2} pairs from {pictures}" + (
        f" and {more} more" if more > 0 else ""
    )


def _is_rate(key: str) -> bool:
    return key.startswith("perf/tokens_per_sec")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            flat[prefix + key] = shown
    return flat


def _abbreviated(number: int) -> str:
    for size, unit in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def _devices() -> str:
    devices = jax.devices()
    kind = devices[0].device_kind
    return f"{len(devices)} x {kind}" if len(devices) > 1 or kind != "cpu" else "CPU"
