"""Is a task posed by its prompt? Every task of pairs, and queries that several tasks share."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import lvm_jax
from experiments.study import prompts as asked_of_runs
from lvm_jax.evaluation import analogy_experiment, analogy_job
from lvm_jax.evaluation.asking import shared_queries
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.asking.parts import FOLDER, Parts
from lvm_jax.evaluation.asking.shared_queries import SharedAnswers
from lvm_jax.evaluation.metrics import kinds as kinds_lib
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.evaluation.tasks.task import Example, Examples
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.images import ImageConfig
from lvm_jax.pictures import derive
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from lvm_jax.tokenizer.codec import Tokenizer
from studies import prompts_picture, prompts_summary
from studies.prompts_judges import Judges

SHOTS = 5
# The kinds of README's picture, and its queries: the first ones, not the best.
PICTURED = ("mask", "edges", "flat")
NUM_PICTURED = 3
_CACHE_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much is asked.

    Attributes:
        tasks: key of `experiments.study.prompts.AMOUNTS`.
        seeds: of the shared queries.
        num_queries: shared ones of each seed and group.
        num_candidates: answers to each of them under every prompt.
        num_references: sentences that the judges of kinds learn from.
        batch_size: rows that are computed at once.
    """

    tasks: str = "full"
    seeds: tuple[int, ...] = (0, 1, 2)
    num_queries: int = 16
    num_candidates: int = 4
    num_references: int = 60
    batch_size: int = 16


FULL = Amounts()
SMALLEST = Amounts(
    tasks="smallest", seeds=(0,), num_queries=2, num_candidates=2, num_references=2, batch_size=4
)


def evaluate(
    model_dir: pathlib.Path,
    tokenizer_dir: pathlib.Path,
    root: pathlib.Path,
    out: pathlib.Path,
    *,
    amounts: Amounts = FULL,
    shots: int = SHOTS,
    progress: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """Asks a finished run all tasks, and the queries that tasks share.

    Args:
        model_dir: its workdir.
        tokenizer_dir: of its tokenizer.
        root: of UVD-mini, of which only held_out is looked at.
        out: gets tasks/ (evaluation.json, report.html, answers.png), tasks.png (the best, median
            and worst of each), a picture of every group of shared queries, and prompts.png for
            README. What is finished is kept there.
        amounts: how much is asked.
        shots: example pairs of a prompt.
        progress: called with what begins.

    Returns:
        The numbers, for JSON: some kilobytes. See `prompts_summary`.

    Raises:
        ValueError: pictures that are missing, or another tokenizer than the model's.
    """
    tokenizer = lvm_jax.load_tokenizer(tokenizer_dir)
    model = lvm_jax.load_model(model_dir, tokenizer=tokenizer)
    values = asked_of_runs.evaluation(str(root), shots, amounts.tasks)
    results = analogy_job.run(
        analogy_experiment.build_experiment(values),
        model,
        tokenizer,
        out / "tasks",
        model_dir=model_dir,
        tokenizer_dir=tokenizer_dir,
        progress=progress,
    )
    prompts_picture.write(out / "tasks.png", prompts_picture.draw_tasks(results))
    groups = {}
    for name in asked_of_runs.shared(str(root / "held_out"), shots):
        if progress is not None:
            progress(f"shared queries, {name}")
        group = Group.of(name, model, tokenizer, root, shots)
        groups[name] = group.ask(amounts, out)
    if progress is not None:
        progress("picture")
    draw(model, tokenizer, root, out, shots, amounts.batch_size)
    return {
        "shots": shots,
        "tasks": prompts_summary.of_tasks(
            out / "tasks", asked_of_runs.UNSEEN, asked_of_runs.FIRST_IDS
        ),
        "shared": groups,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gray:
    """The same inputs, answered in gray: a task that training never poses.

    Attributes:
        examples: with inputs in color.
    """

    examples: Examples

    @property
    def name(self) -> str:
        return "gray"

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`."""
        shown = self.examples.example(seed, index)
        pairs = np.stack([[question, derive.gray(question)] for question, _ in shown.pairs])
        return dataclasses.replace(shown, pairs=pairs, answer=derive.gray(shown.query), truth={})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Kinds of answers to the same queries, and whom they are asked of.

    Attributes:
        name: of the group.
        model, tokenizer: loaded.
        kinds: name -> examples of held-out pictures.
    """

    name: str
    model: LanguageModel
    tokenizer: Tokenizer
    kinds: Mapping[str, Examples]

    @classmethod
    def of(
        cls, name: str, model: LanguageModel, tokenizer: Tokenizer, root: pathlib.Path, shots: int
    ) -> "Group":
        """Finds the pictures of a group."""
        config = model.images or ImageConfig()
        loader = SquareLoader(config, tokenizer.image_size, _CACHE_BYTES)
        sources = asked_of_runs.shared(str(root / "held_out"), shots)[name]
        kinds: dict[str, Examples] = {
            kind: SentenceExamples(source=corpora.build_source(values, kind), loader=loader)
            for kind, values in sources.items()
        }
        if name == asked_of_runs.COLORFUL:
            kinds["gray"] = Gray(examples=next(iter(kinds.values())))
        return cls(name=name, model=model, tokenizer=tokenizer, kinds=kinds)

    def ask(self, amounts: Amounts, out: pathlib.Path) -> dict[str, Any]:
        """Asks, judges the answers, draws some, and sums up."""
        config = AskingConfig(
            seeds=amounts.seeds,
            num_examples=amounts.num_queries,
            num_answered=amounts.num_queries,
            num_candidates=amounts.num_candidates,
            first_ids=asked_of_runs.FIRST_IDS,
            batch_size=amounts.batch_size,
        )
        parts = Parts(out / "shared" / FOLDER)
        answers = shared_queries.ask(self.model, self.tokenizer, self.kinds, config, parts=parts)
        judges = Judges.learn(
            self.tokenizer,
            self.kinds,
            seed=max(config.seeds) + 1,
            number=amounts.num_references,
            parts=parts,
        )
        picture = prompts_picture.draw(
            self.kinds, answers[0], self.tokenizer, seed=config.seeds[0], num_queries=4
        )
        prompts_picture.write(out / "shared" / f"{self.name}.png", picture)
        return prompts_summary.of_shared(
            answers,
            config,
            judges,
            keys=[self._keys(seed, config.num_examples) for seed in config.seeds],
            nearest=[self._nearest(each) for each in answers],
        )

    def _nearest(self, answers: SharedAnswers) -> np.ndarray:
        """What `nearest_truths` takes the answers for: int64 [P, N, C]."""
        numbers = np.empty(answers.ids.shape[:3], np.int64)
        for n in range(numbers.shape[1]):
            truths = self.tokenizer.decode(answers.known[:, n])
            drawn = self.tokenizer.decode(answers.ids[:, n].reshape(-1, answers.ids.shape[-1]))
            numbers[:, n] = kinds_lib.nearest_truths(drawn, truths).reshape(numbers[:, n].shape)
        return numbers

    def _keys(self, seed: int, number: int) -> list[str]:
        """Of the queries."""
        kind = next(iter(self.kinds.values()))
        return [kind.example(seed, index).keys[-2] for index in range(number)]


def draw(
    model: LanguageModel,
    tokenizer: Tokenizer,
    root: pathlib.Path,
    out: pathlib.Path,
    shots: int = SHOTS,
    batch_size: int = FULL.batch_size,
) -> None:
    """README's picture: the same queries under three prompts, four answers to each."""
    group = Group.of(asked_of_runs.COLORFUL, model, tokenizer, root, shots)
    kinds = {name: group.kinds[name] for name in PICTURED}
    config = AskingConfig(
        seeds=(0,),
        num_examples=NUM_PICTURED,
        num_answered=NUM_PICTURED,
        temperature=0.5,
        batch_size=batch_size,
    )
    parts = Parts(out / "shared" / FOLDER)
    (answers,) = shared_queries.ask(model, tokenizer, kinds, config, parts=parts)
    picture = prompts_picture.draw(
        kinds, answers, tokenizer, seed=0, num_queries=NUM_PICTURED, alone=False
    )
    prompts_picture.write(out / "prompts.png", picture)
