"""Which pixels of which file an image of a sentence is."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Crop:
    """A square of a picture, in 65536ths, so that it fits a picture and its annotation alike.

    Attributes:
        left: share of the horizontal room that lies left of the square, 0..65536.
        top: share of the vertical room that lies above the square, 0..65536.
        side: side over the short side of the picture, 1..65536.
    """

    left: int
    top: int
    side: int

    UNIT = 1 << 16

    def __post_init__(self):
        assert 0 <= self.left <= self.UNIT and 0 <= self.top <= self.UNIT, self
        assert 0 < self.side <= self.UNIT, self

    def box(self, height: int, width: int) -> tuple[int, int, int]:
        """(left, top, side) in whole pixels of a picture of this size."""
        side = max(1, (min(height, width) * self.side + self.UNIT // 2) // self.UNIT)
        left = ((width - side) * self.left + self.UNIT // 2) // self.UNIT
        top = ((height - side) * self.top + self.UNIT // 2) // self.UNIT
        return left, top, side


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRef:
    """One image of a sentence: a file, a square of it, and what is derived from it.

    Attributes:
        path: the image file, or a video's.
        frame: which frame of a video, from 0; -1 for an image file.
        crop: the square that is used; None takes the central one.
        flip: mirrored left to right.
        derivation: name in `derivations.DERIVATIONS` or `drawings.DRAWINGS`; "" leaves the picture
            as it is.
        parameters: (name, value) pairs for the derivation.
        shape: (height, width) that coordinates in the parameters refer to; the picture must have
            this aspect ratio.
        labels: (number of labels, ignored number) if the file is a label map, which is drawn in
            colors and resized without mixing them; see `palette.read_labels`.
        annotates: the picture that this file is an annotation of; both must have one aspect ratio.
            No part of the key, since it does not change pixels.
    """

    path: str
    frame: int = -1
    crop: Crop | None = None
    flip: bool = False
    derivation: str = ""
    parameters: tuple[tuple[str, int | float | str], ...] = ()
    shape: tuple[int, int] | None = None
    labels: tuple[int, int] | None = None
    annotates: str = ""

    @property
    def key(self) -> str:
        """Equal keys mean equal pixels: unique images are tokenized once by it."""
        crop = f"{self.crop.left},{self.crop.top},{self.crop.side}" if self.crop else "center"
        given = ",".join(f"{name}={value!r}" for name, value in self.parameters)
        frame = f"#{self.frame}" if self.frame >= 0 else ""
        more = "".join(
            f"|{name}={value[0]},{value[1]}"
            for name, value in (("shape", self.shape), ("labels", self.labels))
            if value is not None
        )
        flip = "flip" if self.flip else ""
        # A name with the signs that part a key could be taken for a name and what follows it.
        marked = any(sign in self.path for sign in "#|")
        path = f"|{len(self.path)}|{self.path}" if marked else self.path
        return f"{path}{frame}|{crop}|{flip}|{self.derivation}({given}){more}"

    @property
    def square(self) -> tuple[str, int, str, bool, str, str]:
        """Equal values mean one square of one picture, before anything is derived from it.

        Values sort by file and frame.
        """
        parts = repr(self.crop), self.flip, repr(self.shape), repr(self.labels)
        return self.path, self.frame, *parts
