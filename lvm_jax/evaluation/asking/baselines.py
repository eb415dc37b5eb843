"""What one could draw without understanding a task, and what the tokenizer leaves of the truth.

Legend: N examples, K example pairs, S side in pixels, T ids per image.
"""

from collections.abc import Sequence

import numpy as np

from lvm_jax.evaluation.asking import results
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.measures import fidelity


def pictures(
    examples: Sequence[Example], pairs_NK2T: np.ndarray, queries_NT: np.ndarray
) -> dict[str, np.ndarray]:
    """An answer to every example by each baseline: [N, S, S, 3], uint8 or float64 in [0, 1].

    A prompt without example pairs has but a copy of its query.

    Args:
        examples: what is asked.
        pairs_NK2T, queries_NT: their code ids.
    """
    drawn = {results.COPY: np.stack([example.query for example in examples])}
    if not pairs_NK2T.shape[1]:
        return drawn
    equal_NK = (pairs_NK2T[:, :, 0] == queries_NT[:, None]).sum(axis=-1)
    by_ids, by_pixels = equal_NK.argmax(axis=1), [_nearest(example) for example in examples]
    return drawn | {
        results.MEAN: np.stack([e.pairs[:, 1].mean(axis=0) / 255.0 for e in examples]),
        results.NEAREST_PIXELS: np.stack([e.pairs[k, 1] for e, k in zip(examples, by_pixels)]),
        results.NEAREST_IDS: np.stack([e.pairs[k, 1] for e, k in zip(examples, by_ids)]),
    }


def _nearest(example: Example) -> int:
    """The example pair whose input is nearest to the query; the first of several."""
    return int(fidelity.mse(example.pairs[:, 0], example.query[None]).argmin())
