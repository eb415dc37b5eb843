"""Examples with their ids, and the prompts that are made of them.

Legend: N examples, K example pairs, S side in pixels, T ids per image.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lvm_jax.evaluation.asking.parts import Parts, digest_arrays
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.tokenizer.codec import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenized:
    """Examples of one task and seed, all of as many pairs, with their code ids.

    Attributes:
        examples: what is asked.
        pairs: int32 [N, K, 2, T].
        queries, answers: int32 [N, T].
        digest: of all pixels and of what else is true of them.
    """

    examples: tuple[Example, ...]
    pairs: np.ndarray
    queries: np.ndarray
    answers: np.ndarray
    digest: str

    def last(self, num_pairs: int) -> "Tokenized":
        """The same with the last so many pairs of each prompt."""
        start = self.pairs.shape[1] - num_pairs
        examples = (dataclasses.replace(e, pairs=e.pairs[start:]) for e in self.examples)
        return dataclasses.replace(self, examples=tuple(examples), pairs=self.pairs[:, start:])

    def first(self, number: int) -> "Tokenized":
        """The first so many examples."""
        return dataclasses.replace(
            self,
            examples=self.examples[:number],
            pairs=self.pairs[:number],
            queries=self.queries[:number],
            answers=self.answers[:number],
        )

    @property
    def prompts(self) -> np.ndarray:
        """Pairs in order and the query: int32 [N, 2 K + 1, T]."""
        pairs_NnT = self.pairs.reshape(len(self.queries), -1, self.queries.shape[1])
        return np.concatenate([pairs_NnT, self.queries[:, None]], axis=1)


def tokenize(tokenizer: Tokenizer, examples: Sequence[Example], parts: Parts) -> Tokenized:
    """Encodes every picture of some examples, or takes what was encoded before.

    Raises:
        ValueError: prompts of different lengths.
    """
    lengths = sorted({len(example.pairs) for example in examples})
    if len(lengths) > 1:
        raise ValueError(f"prompts of one task must have as many pairs, not {lengths}")
    rows = [
        np.concatenate([e.pairs.reshape(-1, *e.query.shape), e.query[None], e.answer[None]])
        for e in examples
    ]
    pixels = np.stack(rows)
    shown = digest_arrays(pixels)
    identity = {"part": "ids", "tokenizer": tokenizer.fingerprint, "pixels": shown}
    encode = lambda: {"ids": tokenizer.encode(pixels.reshape(-1, *pixels.shape[2:]))}
    ids_NnT = parts.get(identity, encode)["ids"].reshape(*pixels.shape[:2], -1)
    truths = [array for e in examples for _, array in sorted(e.truth.items())]
    return Tokenized(
        examples=tuple(examples),
        pairs=ids_NnT[:, :-2].reshape(len(examples), -1, 2, ids_NnT.shape[-1]),
        queries=ids_NnT[:, -2],
        answers=ids_NnT[:, -1],
        digest=digest_arrays(np.frombuffer(bytes.fromhex(shown), np.uint8), *truths),
    )
