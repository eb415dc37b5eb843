"""Is a task learned from its prompt? Held-out analogies, several prompts each, several seeds.

Legend: N examples, n answered examples, K example pairs, S side in pixels, T ids per image,
C candidates.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lvm_jax import images
from lvm_jax.configs import ConfigError, Field, require_at_least, within
from lvm_jax.evaluation.analogies.scores import (
    ANSWER,
    CEILING,
    COPY,
    MEAN,
    NONE,
    OTHER,
    QUERY,
    RIGHT,
    UNIGRAM,
    SeedScores,
    Shown,
    TaskResult,
)
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.tasks.task import Example, Examples
from lvm_jax.generation import prompts
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.answers import answer_ids
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.measures import fidelity
from lvm_jax.tokenizer.codec import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalogyConfig:
    """What is measured, and how much of it.

    Attributes:
        seeds: each chooses other examples and other random streams for the answers.
        num_examples: analogies per task and seed whose true answer is scored.
        num_answered: the first so many of them are also answered, num_candidates times.
        num_candidates: answers per answered analogy.
        num_shown: answered analogies of the first seed kept for the report.
        temperature, top_k, top_p: how answers are drawn.
        batch_size: rows per device batch.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    num_examples: int = 24
    num_answered: int = 8
    num_candidates: int = 4
    num_shown: int = 4
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    batch_size: int = 8

    def __post_init__(self):
        if len(self.seeds) < 1 or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(Field("seeds"), f"={self.seeds} must be different seeds, one or more")
        require_at_least(self, 1, "num_examples", "num_answered", "num_candidates", "batch_size")
        if not 0 <= self.num_shown <= self.num_answered <= self.num_examples:
            raise ConfigError(
                Field("num_shown"),
                f"={self.num_shown} <= num_answered={self.num_answered} <= "
                f"num_examples={self.num_examples} must hold",
            )
        with within("", seed="seeds"):
            for seed in self.seeds:
                self.asked(seed)

    def asked(self, seed: int) -> AnswerConfig:
        """What one seed asks of the model; ConfigError where that cannot be."""
        return AnswerConfig(
            num_candidates=self.num_candidates,
            seed=seed,
            sampling=SamplingConfig(
                temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
            ),
            images_per_example=2,
            batch_size=self.batch_size,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tokenized:
    """Examples of one task and seed with their ids."""

    examples: tuple[Example, ...]
    pairs: np.ndarray  # [N, K, 2, T]
    queries: np.ndarray  # [N, T]
    answers: np.ndarray  # [N, T]


def evaluate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tasks: Sequence[Examples],
    unigram: np.ndarray,
    config: AnalogyConfig,
    *,
    progress: Callable[[str], Any] | None = None,
) -> tuple[TaskResult, ...]:
    """Measures every task with every seed.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        tasks: with examples from pictures that training never saw.
        unigram: float [num_codes], probabilities of the codes in the training data.
        config: how much is measured.
        progress: called with "task, seed n" before each of the len(tasks) * len(seeds) parts.

    Raises:
        ValueError: the tokenizer is not the model's, or an analogy does not fit the context.
    """
    model.check_tokenizer(tokenizer)
    by_task: list[list[SeedScores]] = [[] for _ in tasks]
    shown: list[tuple[Shown, ...]] = [() for _ in tasks]
    for number, seed in enumerate(config.seeds):
        tokenized = [_tokenize(tokenizer, task, seed, config.num_examples) for task in tasks]
        for i, task in enumerate(tasks):
            if progress is not None:
                progress(f"{task.name}, seed {seed}")
            nll = _score(model, tokenized, i, unigram, config)
            answers_nC, ceiling_n = _answer(model, tokenizer, tokenized[i], seed, config)
            examples = tokenized[i].examples[: config.num_answered]
            mse = _compare(examples, answers_nC, ceiling_n)
            by_task[i].append(SeedScores(seed=seed, nll=nll, mse=mse))
            if number == 0:
                shown[i] = tuple(_show(examples, answers_nC, ceiling_n))[: config.num_shown]
    return tuple(
        TaskResult(name=task.name, seeds=tuple(scores), shown=pictures)
        for task, scores, pictures in zip(tasks, by_task, shown)
    )


def _tokenize(tokenizer: Tokenizer, task: Examples, seed: int, num_examples: int) -> _Tokenized:
    examples = tuple(task.example(seed, index) for index in range(num_examples))
    rows = [
        np.concatenate([e.pairs.reshape(-1, *e.query.shape), e.query[None], e.answer[None]])
        for e in examples
    ]
    ids_NnT = tokenizer.encode(np.concatenate(rows)).reshape(num_examples, len(rows[0]), -1)
    return _Tokenized(
        examples=examples,
        pairs=ids_NnT[:, :-2].reshape(num_examples, -1, 2, ids_NnT.shape[-1]),
        queries=ids_NnT[:, -2],
        answers=ids_NnT[:, -1],
    )


def _score(
    model: LanguageModel,
    tokenized: Sequence[_Tokenized],
    which: int,
    unigram: np.ndarray,
    config: AnalogyConfig,
) -> dict[str, np.ndarray]:
    """Nats per id of the true answers of one task under every condition; each float64 [N]."""
    own = tokenized[which]
    num_examples = len(own.queries)
    # The other tasks take turns, so that the number does not hang on the choice of one.
    others = [t.pairs for i, t in enumerate(tokenized) if i != which]
    fewest = min((pairs.shape[1] for pairs in others), default=0)
    no_pairs = own.pairs[:, :0]
    pairs_of = {RIGHT: own.pairs, QUERY: no_pairs}
    if others:
        pairs_of[OTHER] = [others[n % len(others)][n, :fewest] for n in range(num_examples)]
    vocabulary = model.vocabulary
    prompts_of = {
        condition: np.stack(
            [
                prompts.analogy(
                    k,
                    q,
                    vocabulary=vocabulary,
                    framing=model.framing,
                    context=model.config.context,
                )
                for k, q in zip(pairs, own.queries)
            ]
        )
        for condition, pairs in pairs_of.items()
    }
    prompts_of[NONE] = np.full((num_examples, 1), vocabulary.bos, np.int32)
    nll = {
        condition: perplexity.target_nll(
            model, prompt_NP, own.answers, batch_size=config.batch_size
        )
        for condition, prompt_NP in prompts_of.items()
    }
    nll[UNIGRAM] = perplexity.unigram_nll(own.answers, unigram)
    return {name: values.astype(np.float64).mean(axis=1) for name, values in nll.items()}


def _answer(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tokenized: _Tokenized,
    seed: int,
    config: AnalogyConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """The model's answers, float32 [n, C, S, S, 3], and the true ones through the tokenizer."""
    num, tokens_per_image = config.num_answered, tokenized.queries.shape[1]
    prompts_NnT = np.concatenate(
        [
            tokenized.pairs[:num].reshape(num, -1, tokens_per_image),
            tokenized.queries[:num, None],
        ],
        axis=1,
    )
    ids_NCMT = np.stack(answer_ids(model, list(prompts_NnT), config.asked(seed)))
    decoded = tokenizer.decode(ids_NCMT.reshape(-1, tokens_per_image))
    answers_nC = np.reshape(decoded, (num, config.num_candidates, *decoded.shape[1:]))
    return answers_nC, np.asarray(tokenizer.decode(tokenized.answers[:num]))


def _compare(
    examples: Sequence[Example], answers_nC: np.ndarray, ceiling_n: np.ndarray
) -> dict[str, np.ndarray]:
    truth_n = np.stack([example.answer for example in examples])
    means_n = np.stack([example.pairs[:, 1].mean(axis=0) / 255.0 for example in examples])
    return {
        ANSWER: fidelity.mse(answers_nC, truth_n[:, None]).mean(axis=1),
        CEILING: fidelity.mse(ceiling_n, truth_n),
        COPY: fidelity.mse(np.stack([example.query for example in examples]), truth_n),
        MEAN: fidelity.mse(means_n, truth_n),
    }


def _show(
    examples: Sequence[Example], answers_nC: np.ndarray, ceiling_n: np.ndarray
) -> Iterator[Shown]:
    for example, answers, ceiling in zip(examples, answers_nC, ceiling_n):
        yield Shown(
            example=example,
            candidates=images.to_uint8(answers),
            ceiling=images.to_uint8(ceiling),
        )
