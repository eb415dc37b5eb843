"""Options of the tools that use a trained model: which one, and its tokenizer."""

import dataclasses

from lvm_jax.configs import ConfigError, Field
from lvm_jax.pretrained import places
from lvm_jax.pretrained.places import Pair
from options import Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """Which tokenizer.

    Attributes:
        tokenizer: directory that train_tokenizer.py or convert_tokenizer.py made.
        pretrained: what ships with the package under this name, uvd_mini, instead.
    """

    tokenizer: Place | None = None
    pretrained: str | None = None

    def tokenizer_directory(self) -> str:
        """Where it lies.

        Raises:
            ConfigError: both are given, or none; ValueError: nothing ships under this name.
        """
        if self.pretrained is not None:
            self._refuse_beside_pretrained("tokenizer")
            return places.find(self.pretrained).tokenizer
        if self.tokenizer is None:
            raise self._required("tokenizer")
        return self.tokenizer

    def _refuse_beside_pretrained(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise ConfigError(
                    *(Field("pretrained"), f"={self.pretrained} and "),
                    *(Field(name), f"={getattr(self, name)} are both given; drop one of them"),
                )

    def _required(self, name: str) -> ConfigError:
        return ConfigError(
            *(Field(name), " is required, or "),
            *(Field("pretrained"), f"={places.NAMES[0]}, which ships with the package"),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(TokenizerOptions):
    """Which model, and its tokenizer.

    Attributes:
        model: workdir of a training, or a model directory.
        tokenizer: the model's; may be left out if it is the one that ships.
        pretrained: the pair that ships with the package under this name, uvd_mini, instead of
            --model and --tokenizer.
    """

    model: Place | None = None

    def pair(self) -> Pair:
        """Where both lie.

        Raises:
            ConfigError: a flag is missing, or one is given beside --pretrained; ValueError: no pair
                of this name ships.
        """
        if self.pretrained is not None:
            self._refuse_beside_pretrained("model", "tokenizer")
            return places.find(self.pretrained)
        if self.model is None:
            raise self._required("model")
        tokenizer = self.tokenizer or places.tokenizer_of(self.model)
        if tokenizer is None:
            raise self._required("tokenizer")
        return Pair(model=self.model, tokenizer=tokenizer)
