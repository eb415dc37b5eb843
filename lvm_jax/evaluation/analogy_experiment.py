"""Which analogies a model is asked, and what the report on them shows besides."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.tasks import pixels, registry
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.evaluation.tasks.task import Task
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from lvm_jax.sentences.sources import Source


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
        measures: task -> {"task": name in `tasks.registry`, ...its options}; tasks that are not
            named are measured by the squared error of their pixels.
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
    measures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluation: AskingConfig = dataclasses.field(
        # As before pictures of 8 bits were the rule, so that scores stay comparable.
        default_factory=lambda: AskingConfig(pixels="float32")
    )
    commands: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        if not self.tasks:
            raise ConfigError(Field("tasks"), " is empty; name at least one source of pairs")
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ConfigError(Field("tasks"), f": names {names} must differ; give each its own")
        for task in self.tasks:
            if task.images_per_sentence < 4:
                raise ConfigError(
                    Field("tasks"),
                    f": {task.name} has sentences of {task.images_per_sentence} image(s); an "
                    "analogy takes a source of pairs with pairs_per_sentence >= 2",
                )
        configs.build(ImageConfig, self.images, "images")  # refuses bad values early
        for name in self.measures:
            if name not in names:
                raise ConfigError(
                    Field(f"measures.{name}"), f" names no task; there are {', '.join(names)}"
                )

    def task_of(self, source: Source, loader: SquareLoader) -> Task:
        """A source's examples and what their answers are worth.

        Raises:
            ConfigError: an unknown measure or option; named.
        """
        measure = dict(self.measures.get(source.name, {"task": pixels.KIND.name}))
        where = f"measures.{source.name}"
        kind = measure.pop("task", None)
        if kind not in registry.KINDS:
            raise ConfigError(
                Field(f"{where}.task"), f"={kind!r} is none of {', '.join(registry.KINDS)}"
            )
        examples = SentenceExamples(source=source, loader=loader)
        return registry.build(kind, examples, measure, where)


def build_experiment(values: Mapping[str, Any]) -> AnalogyExperiment:
    """Builds an experiment from plain values; sources as in `corpora.build_corpus`.

    Raises:
        ValueError: an unknown key or kind, or a value that does not fit; named.
    """
    values = dict(values)
    for key in ("tasks", "reconstructions"):
        values[key] = corpora.build_sources(values.get(key, ()), f"config.{key}")
    return configs.build(AnalogyExperiment, values, "config")
