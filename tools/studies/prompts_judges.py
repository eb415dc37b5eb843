"""Of which kind answers are, told by judges that never saw the things that were asked about.

Legend: P prompts or kinds, N queries, C candidates, T ids per image, J kinds of pictures.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from lvm_jax.draws import hash_key
from lvm_jax.evaluation.asking.parts import Parts
from lvm_jax.evaluation.asking.tokenized import tokenize
from lvm_jax.evaluation.metrics.kinds import KindsByCodes
from lvm_jax.evaluation.tasks.task import Examples
from lvm_jax.tokenizer.codec import Tokenizer
from studies.measure import thing_of

SAME = "picture"  # what an answer is that looks like a query


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judges:
    """Two judges: each learned from one half of the things, and judges answers about the other.

    Some kinds are of held-out pictures only, so there are no others to learn from.

    Attributes:
        of_half: who judges the first half, and the second.
    """

    of_half: tuple[KindsByCodes, KindsByCodes]

    @classmethod
    def learn(
        cls,
        tokenizer: Tokenizer,
        kinds: Mapping[str, Examples],
        *,
        seed: int,
        number: int,
        parts: Parts,
    ) -> "Judges":
        """Learns the kinds from example pairs.

        Args:
            tokenizer: gives the codes.
            kinds: what is asked, of the same inputs.
            seed: of the examples.
            number: of them.
            parts: where codes are kept.
        """
        ids: list[dict[str, np.ndarray]] = [{}, {}]
        for kind, examples in kinds.items():
            shown = [examples.example(seed, index) for index in range(number)]
            pairs_n2T = tokenize(tokenizer, shown, parts).pairs
            pairs_n2T = pairs_n2T.reshape(-1, *pairs_n2T.shape[2:])
            halves_n = np.array([half(key) for each in shown for key in each.keys[:-2:2]])
            for judge in range(2):
                learned = pairs_n2T[halves_n != judge]
                ids[judge] |= {kind: learned[:, 1], SAME: learned[:, 0]}
        first, second = (
            KindsByCodes.learn(
                {kind: by_kind[kind] for kind in (*kinds, SAME)}, tokenizer.num_codes
            )
            for by_kind in ids
        )
        return cls(of_half=(first, second))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those asked for in order, then `SAME`."""
        return self.of_half[0].kinds

    def tell(self, ids_PNCT: np.ndarray, keys: Sequence[str], known_JNT: np.ndarray) -> np.ndarray:
        """Numbers of kinds: int64 [P, N, C].

        Args:
            ids_PNCT: of pictures that answer N queries.
            keys: of these.
            known_JNT: ids of what a picture of each of `kinds` would truly be.
        """
        known = known_JNT[:, None, :, None]
        first, second = (judge.tell(ids_PNCT, known) for judge in self.of_half)
        halves_N = np.array([half(key) for key in keys])
        return np.where(halves_N[:, None] == 0, first, second)


def half(key: str) -> int:
    """In which half the thing is that an image shows."""
    return hash_key("half", thing_of(key)) % 2
