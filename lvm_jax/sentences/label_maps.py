"""Pairs of a picture and its label map, drawn in colors that can be turned into labels again."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

from lvm_jax.draws import Draws
from lvm_jax.pictures import palette
from lvm_jax.pictures.reference import Crop, ImageRef
from lvm_jax.sentences.pairs import Pairs
from lvm_jax.sentences.sources import Picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelMapPairs(Pairs):
    """picture, its label map in colors, ...: two folders matched by relative name.

    Label maps are gray or palette images whose numbers, as their files hold them, are the labels;
    0 is drawn black. See `palette.read_labels`.

    Attributes:
        label_folder: the label maps.
        num_labels: labels are 0..num_labels - 1.
        ignored: a number that is drawn as 0, such as 255 for "void"; -1 for none.
    """

    kind: Literal["label_map"] = "label_map"
    label_folder: str
    num_labels: int
    ignored: int = -1

    def __post_init__(self):
        super().__post_init__()
        if not 2 <= self.num_labels <= palette.MOST_LABELS:
            raise ValueError(
                f"{self.name}.num_labels={self.num_labels} must lie in 2..{palette.MOST_LABELS}"
            )

    @property
    def _folders(self) -> Mapping[str, str]:
        return {"folder": self.folder, "label_folder": self.label_folder}

    @functools.cached_property
    def items(self) -> tuple[Picture, ...]:
        """The pictures with their label maps, sorted by key.

        Raises:
            ValueError: what `Source.items` refuses, or files without a partner (named).
        """
        found = self._matched({"image": self.folder, "label map": self.label_folder})
        return tuple(Picture(key=key, path=path, annotation=other) for key, path, other in found)

    def _images(
        self, item: Picture, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        del draws, theme
        picture = ImageRef(path=item.path, crop=crop, flip=flip)
        labels = self.num_labels, self.ignored
        other = {"path": item.annotation, "annotates": item.path, "labels": labels}
        return [picture, dataclasses.replace(picture, **other)]
