"""The id space: code ids, special ids, logical and padded size, and what frames a sentence.

Special ids appear nowhere else; everything else asks a `Vocabulary`.
"""

import dataclasses

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Ids of a visual language.

    Codes take 0..num_codes-1 and special ids follow: BOS, EOS, PAD, then unused ones. The defaults
    are LVM's: 8,192 codes and 100 special ids, 8,292 in all. Matrices over the vocabulary are
    padded to a multiple of `pad_multiple`, so that they divide over a tensor axis.

    Attributes:
        num_codes: size of the tokenizer's codebook.
        num_special: ids reserved after the codes; at least 3 (BOS, EOS, PAD).
        pad_multiple: the physical size is the next multiple of this.
    """

    num_codes: int = 8192
    num_special: int = 100
    pad_multiple: int = 128

    def __post_init__(self):
        configs.require_at_least(self, 2, "num_codes")
        configs.require_at_least(self, 1, "pad_multiple")
        if self.num_special < 3:
            raise ConfigError(
                Field("num_special"), f"={self.num_special} must be at least 3 (BOS, EOS, PAD)"
            )
        if self.size > 2**16:
            raise ConfigError(
                Field("num_codes"),
                f"={self.num_codes} and {self.num_special} special ids do not fit uint16 shards; "
                f"use at most {2**16 - self.num_special} codes",
            )

    @property
    def bos(self) -> int:
        """Begins a sentence."""
        return self.num_codes

    @property
    def eos(self) -> int:
        """Ends a sentence."""
        return self.num_codes + 1

    @property
    def pad(self) -> int:
        """Fills what is left of a row; never a target."""
        return self.num_codes + 2

    @property
    def size(self) -> int:
        """Ids that mean something or may one day: codes and special ids."""
        return self.num_codes + self.num_special

    @property
    def padded_size(self) -> int:
        """Rows of the embedding and columns of the output head."""
        return -(-self.size // self.pad_multiple) * self.pad_multiple


@dataclasses.dataclass(frozen=True, kw_only=True)
class Framing:
    """Which special ids stand around the images of a sentence: a property of trained weights.

    Attributes:
        bos: sentences begin with BOS, and so do prompts.
        eos: sentences end with EOS.
    """

    bos: bool = True
    eos: bool = True
