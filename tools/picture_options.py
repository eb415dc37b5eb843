"""Options of the tools that read pictures for a trained model, and of those that draw some."""

import dataclasses
from typing import Any, Literal

from lvm_jax import configs


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How pictures are read.

    Attributes:
        fit: how pictures become square: by their middle, or squashed. By default as those did that
            the model learned from.
        background: R,G,B in 0..255 under transparent pictures; by default as for --fit.
        max_pixels: larger pictures are refused before they are decoded.
    """

    fit: Literal["crop", "squash"] | None = None
    background: tuple[str, ...] | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "max_pixels")

    def changes(self) -> dict[str, Any]:
        """Fields of `images.ImageConfig` that the command line sets.

        Raises:
            ValueError: a background that is no color.
        """
        fields: dict[str, Any] = {"resize": self.fit, "max_pixels": self.max_pixels}
        if self.background is not None:
            try:
                fields["background"] = [int(value) for value in self.background]
            except ValueError as error:
                raise ValueError(
                    f"--background={','.join(self.background)} must be three numbers of 0..255, "
                    "such as 255,255,255"
                ) from error
        return {name: value for name, value in fields.items() if value is not None}
