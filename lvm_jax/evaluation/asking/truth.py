"""How probable the true answer is under the right prompt, and under others.

Legend: N examples, P ids of a prompt, T ids per image, K example pairs.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from lvm_jax.evaluation.asking import results
from lvm_jax.evaluation.asking.results import MODEL, NONE, OTHER, QUERY, UNIGRAM, MetricResult
from lvm_jax.evaluation.asking.tokenized import Tokenized
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.generation import prompts
from lvm_jax.generation.language_model import LanguageModel


def score(
    model: LanguageModel,
    own: Tokenized,
    others: Sequence[Tokenized],
    *,
    unigram: np.ndarray | None,
    start: int,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Nats of every id of the true answers under every condition that there is: float [N, T].

    Args:
        model: the model.
        own: examples of a task.
        others: as many examples of each other task, whose pairs are wrong prompts.
        unigram: float [num_codes], probabilities of the codes in the training data, if known.
        start: number of the first example within its seed.
        batch_size: rows per device batch.
    """
    num_examples = len(own.queries)
    pairs_of: dict[str, Sequence[np.ndarray]] = {MODEL: list(own.pairs)}
    if others:
        # The other tasks take turns, so that the number does not hang on the choice of one.
        fewest = min(other.pairs.shape[1] for other in others)
        turn = lambda n: others[(start + n) % len(others)].pairs[n, :fewest]
        pairs_of[OTHER] = [turn(n) for n in range(num_examples)]
    conditions = {
        name: np.stack([prompt_of(model, k, q) for k, q in zip(pairs, own.queries)])
        for name, pairs in pairs_of.items()
    }
    if model.framing.bos:  # otherwise nothing stands before the first id, which none predicts
        conditions[NONE] = np.full((num_examples, 1), model.vocabulary.bos, np.int32)
    nll = {
        name: perplexity.target_nll(model, prompts_NP, own.answers, batch_size=batch_size)
        for name, prompts_NP in conditions.items()
    }
    if unigram is not None:
        nll[UNIGRAM] = perplexity.unigram_nll(own.answers, unigram)
    if own.pairs.shape[1]:
        alone_NP = np.stack([prompt_of(model, own.pairs[0, :0], query) for query in own.queries])
        nll[QUERY] = perplexity.target_nll(model, alone_NP, own.answers, batch_size=batch_size)
    return nll


def results_of(
    scored: Mapping[str, Sequence[np.ndarray]], first_ids: Sequence[int] = ()
) -> tuple[MetricResult, ...]:
    """Nats of ids as numbers of examples: of all ids, and of the first so many.

    Args:
        scored: condition -> of each seed float [N, T] nats.
        first_ids: numbers of ids that are measured apart.
    """
    mean = lambda nll_NT, first: nll_NT[:, : first or None].astype(np.float64).mean(axis=1)
    return tuple(
        MetricResult(
            metric=results.truth_metric(first),
            values={name: tuple(mean(seed, first) for seed in s) for name, s in scored.items()},
            own="right prompt",
        )
        for first in (0, *first_ids)
    )


def prompt_of(model: LanguageModel, pairs_K2T: np.ndarray, query_T: np.ndarray) -> np.ndarray:
    """Example pairs and a query as the model reads them: int32 [P]; K may be 0."""
    return prompts.analogy(
        pairs_K2T,
        query_T,
        vocabulary=model.vocabulary,
        framing=model.framing,
        context=model.config.context,
    )


def own_surprise(
    model: LanguageModel, asked: Tokenized, ids_NCT: np.ndarray, batch_size: int
) -> np.ndarray:
    """Nats per id that the model gives each of its own answers: float64 [N, C].

    Args:
        model: the model.
        asked: N examples.
        ids_NCT: int32, C answers to each.
        batch_size: rows per device batch.
    """
    prompts_NP = np.stack([prompt_of(model, k, q) for k, q in zip(asked.pairs, asked.queries)])
    num_examples, num_candidates, tokens_per_image = ids_NCT.shape
    nll = perplexity.target_nll(
        model,
        prompts_NP.repeat(num_candidates, axis=0),
        ids_NCT.reshape(-1, tokens_per_image),
        batch_size=batch_size,
    )
    return nll.astype(np.float64).mean(axis=1).reshape(num_examples, num_candidates)
