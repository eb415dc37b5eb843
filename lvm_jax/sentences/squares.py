"""Which square of its pictures a sentence shows, mirrored or not."""

import dataclasses
from collections.abc import Iterator

from lvm_jax.draws import Draws
from lvm_jax.pictures.reference import Crop, ImageRef

# Names and values of what a function takes besides the picture.
Parameters = tuple[tuple[str, int | float | str], ...]


@dataclasses.dataclass(frozen=True)
class Square:
    """A square of any picture.

    Attributes:
        crop: which; None is the whole central one.
        flip: mirrored left to right.
    """

    crop: Crop | None
    flip: bool

    def of(
        self,
        path: str,
        frame: int = -1,
        annotates: str = "",
        labels: tuple[int, int] | None = None,
        shape: tuple[int, int] | None = None,
        derivation: str = "",
        parameters: Parameters = (),
    ) -> ImageRef:
        """This square of a file; arguments as the fields of `ImageRef`."""
        return ImageRef(
            path=path,
            frame=frame,
            crop=self.crop,
            flip=self.flip,
            derivation=derivation,
            parameters=parameters,
            shape=shape,
            labels=labels,
            annotates=annotates,
        )


def drawn(
    draws: Draws, shares: tuple[float, float] | None, flip: bool, same: bool
) -> Iterator[Square]:
    """Squares without end, each drawn when it is asked for.

    Args:
        draws: of the sentence.
        shares: a side over the short side of its picture, smallest and largest; None crops nothing.
        flip: mirrors half of them.
        same: gives the first one again and again.
    """
    square = None
    while True:
        if square is None or not same:
            square = _draw(draws, shares, flip)
        yield square


def _draw(draws: Draws, shares: tuple[float, float] | None, flip: bool) -> Square:
    crop = None
    if shares is not None:
        smallest, largest = (max(1, round(share * Crop.UNIT)) for share in shares)
        side = smallest + draws.integer(largest - smallest + 1)
        left, top = draws.integer(Crop.UNIT + 1), draws.integer(Crop.UNIT + 1)
        crop = Crop(left, top, side)
    return Square(crop, flip and draws.coin())
