"""What is measured of a finished training: perplexity of true answers and of frames that follow.

Every run is asked the same prompts: squares, partners and frames are drawn from the seed of the
prompts, whatever the seed of the run.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from experiments.study import corpus
from lvm_jax import image_record
from lvm_jax.evaluation.asking import scoring
from lvm_jax.evaluation.asking.parts import FOLDER, Parts
from lvm_jax.evaluation.asking.results import MODEL, TaskResult
from lvm_jax.evaluation.asking.scoring_config import ScoringConfig
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.evaluation.tasks.sequences import PairSequences, SentenceSequences, Sequences
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from lvm_jax.sentences.sources import Source
from lvm_jax.tokenizer.codec import Tokenizer
from studies.plan import TASKS, VIDEOS
from studies.shown_before import ShownBefore
from studies.statistics import clustered_error

_BATCH_SIZE = 8
_CACHE_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A model and what it is asked.

    Attributes:
        model, tokenizer: loaded.
        root: of UVD-mini.
        parts: folder of what is computed once, such as ids of pictures.
        num_prompts: of each task.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    root: pathlib.Path
    parts: pathlib.Path
    num_prompts: int

    def answers(self, shots: tuple[int, ...], *, shown: bool = False) -> dict[str, Any]:
        """The true answers of the four tasks after so many example pairs, by task and number.

        Args:
            shots: numbers of pairs.
            shown: every pair is the query and its answer, see `shown_before`.
        """
        config = dataclasses.replace(self._config, shots=shots)
        pairs = max(shots) + 1
        number = self.num_prompts
        return self._scored(
            corpus_tasks=corpus.tasks(str(self.root / "held_out"), pairs, 2 * pairs),
            names=tuple(TASKS),
            sequences=lambda source, loader: PairSequences(
                examples=SentenceExamples(source=source, loader=loader), num_sequences=number
            ),
            config=config,
            period=2 if shown else None,
        )

    def frames(self, before: tuple[int, ...], *, shown: bool = False) -> dict[str, Any]:
        """The next frame after so many others, by kind of video and number.

        Args:
            before: numbers of frames.
            shown: every frame is the next one, see `shown_before`.
        """
        config = dataclasses.replace(self._config, context_images=before)
        number = self.num_prompts
        return self._scored(
            corpus_tasks=corpus.tasks(str(self.root / "held_out"), 1, max(before) + 1),
            names=VIDEOS,
            sequences=lambda source, loader: SentenceSequences(
                source=source, num_sequences=number, num_targets=1, loader=loader
            ),
            config=config,
            period=1 if shown else None,
        )

    @property
    def _config(self) -> ScoringConfig:
        return ScoringConfig(num_examples=self.num_prompts, batch_size=_BATCH_SIZE, num_shown=0)

    def _scored(
        self,
        *,
        corpus_tasks: dict[str, Any],
        names: tuple[str, ...],
        sequences: Callable[[Source, SquareLoader], Sequences],
        config: ScoringConfig,
        period: int | None,
    ) -> dict[str, Any]:
        images = image_record.config_for(self.model.images, "the model", {})
        loader = SquareLoader(images, self.tokenizer.image_size, _CACHE_BYTES)
        found = {}
        for source in corpora.build_sources({n: corpus_tasks[n] for n in names}, "tasks"):
            asked = sequences(source, loader)
            if period is not None:
                asked = ShownBefore(sequences=asked, period=period)
            evaluation = scoring.evaluate(
                self.model,
                self.tokenizer,
                asked,
                config,
                parts=Parts(self.parts / FOLDER),
            )
            things = [thing_of(keys[-1]) for keys in evaluation.prompts[source.name]]
            numbers = {name: place for place, name in enumerate(dict.fromkeys(things))}
            found[source.name] = {
                "prompts": len(things),
                "things": [numbers[name] for name in things],
                "inputs": evaluation.inputs[source.name][:16],
                "by_length": dict(_condensed(evaluation.results, things)),
            }
        return found


def thing_of(key: str) -> str:
    """What a picture of UVD-mini shows: a model, a clip or an emoji in any skin, a tile.

    Args:
        key: of the picture, see `ImageRef.key`; its file lies in held_out.
    """
    path = pathlib.PurePosixPath(key.partition("|")[0].rpartition("held_out/")[2])
    parts = [part for part in path.with_suffix("").parts if part != "edges"]
    return re.sub("-1f3f[b-f]", "", parts[2 if parts[0] == "earth" else 1])


def _condensed(
    results: Sequence[TaskResult], things: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(how much was seen, numbers of it), the least first; errors count prompts of a thing as one.

    "gain" is by how many nats a length is better than the one before, with its error.
    """
    shorter = None
    for result in results:
        assert result.rung is not None
        perplexity, nll = (_values(result, metric.name) for metric in _METRICS)
        numbers: dict[str, Any] = {
            "perplexity": _mean(perplexity, things),
            "nll": _mean(nll, things),
            "nll_of_prompts": [round(float(value), 3) for value in nll],
        }
        if shorter is not None:
            numbers["gain"] = _mean(shorter - nll, things)
        shorter = nll
        yield str(result.rung.value), numbers


_METRICS = (scoring.PERPLEXITY, scoring.NLL)


def _values(result: TaskResult, metric: str) -> np.ndarray:
    found = result.metric(metric)
    assert found is not None
    return found.all_values(MODEL)


def _mean(values: np.ndarray, things: Sequence[str]) -> list[float]:
    """[mean, its standard error]."""
    return [short(float(values.mean())), short(clustered_error(values, things))]


def short(value: float) -> float:
    """As many digits as say something."""
    return float(f"{value:.6g}")
