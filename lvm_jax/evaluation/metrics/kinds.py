"""Of which kind a picture is: whether a model did what it was asked, however well.

Legend: K kinds, N pictures, T ids per image, V codes, S side in pixels.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.measures import codes, fidelity

# Share of ids at which an answer is taken to be as the truth, rather than just of its kind. Where
# kinds look alike, as flat and shaded drawings do, so few tell them apart.
FAITHFUL = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class KindsByCodes:
    """Tells kinds by how often each code occurs in their pictures, wherever it stands.

    A picture is of the kind under whose frequencies its codes are most probable (naive Bayes, all
    kinds equally likely before). So a mask of another thing is a mask, and so is a poor one.

    Attributes:
        kinds: their K names.
        probabilities: float64 [K, V], of every code.
    """

    kinds: tuple[str, ...]
    probabilities: np.ndarray

    @classmethod
    def learn(cls, pictures: Mapping[str, np.ndarray], num_codes: int) -> "KindsByCodes":
        """Counts the codes of some pictures of every kind.

        Args:
            pictures: kind -> int ids [N, T].
            num_codes: V.
        """
        counts = [np.asarray(codes.histogram(ids, num_codes)) for ids in pictures.values()]
        probabilities = np.stack([perplexity.unigram(counts_V) for counts_V in counts])
        return cls(kinds=tuple(pictures), probabilities=probabilities)

    def tell(self, ids: np.ndarray, truths: np.ndarray | None = None) -> np.ndarray:
        """Numbers of the kinds that pictures are of.

        Args:
            ids: int [..., T].
            truths: int [K, ..., T], of a shape that broadcasts to it: what each kind would truly
                be, where that is known. An id is then this one's with probability FAITHFUL.

        Returns:
            int64 [...].
        """
        likelihood = self.probabilities[:, ids]
        if truths is not None:
            likelihood = (1 - FAITHFUL) * likelihood + FAITHFUL * (ids == truths)
        return np.log(likelihood).sum(axis=-1).argmax(axis=0)


def nearest_truths(pictures_NSS3: np.ndarray, truths_KSS3: np.ndarray) -> np.ndarray:
    """Which of the true answers of several kinds is nearest to each picture: int64 [N].

    By the squared error of pixels, uint8 or float in [0, 1]. It needs an answer that is nearly
    right: an outline at another place may be nearer to a mask, which is as black, than to the true
    outline.
    """
    errors = [fidelity.mse(pictures_NSS3, truth_SS3[None]) for truth_SS3 in truths_KSS3]
    return np.argmin(np.stack([np.asarray(error) for error in errors]), axis=0)
