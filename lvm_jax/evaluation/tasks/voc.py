"""Pascal VOC as its owners unpack it, and the lists of Pascal-5i.

    FOLDER/JPEGImages/NAME.jpg
    FOLDER/SegmentationClassAug/NAME.png     label maps: 0 background, 1..20 classes, 255 void
    FOLDER/Annotations/NAME.xml              boxes of objects
    FOLDER/ImageSets/Main/train.txt, val.txt names, one a line
    LISTS/fold0.txt .. fold3.txt             lines NAME__CLASS: a picture and a class that it shows

FOLDER is VOCdevkit/VOC2012, with SBD's additional label maps in SegmentationClassAug; LISTS is
`evaluate/splits/pascal/val` of amirbar/visual_prompting, or of any few-shot segmentation code.
Fold f holds the classes 5f + 1 .. 5f + 5 of the twenty in alphabetical order (Shaban et al. 2017).

Legend: H height, W width in pixels.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np

from lvm_jax.configs import ConfigError, Field
from lvm_jax.pictures import palette

CLASSES: tuple[str, ...] = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
NUM_FOLDS = 4
PER_FOLD = len(CLASSES) // NUM_FOLDS
_MOST_NUMBERS = 256  # label maps have 8 bits


def require_fold(fold: int | None) -> None:
    """Refuses a fold that there is not; None is all of them.

    Raises:
        ConfigError: names it.
    """
    if fold is not None and not 0 <= fold < NUM_FOLDS:
        raise ConfigError(Field("fold"), f"={fold} must lie in 0..{NUM_FOLDS - 1}")


def read_fold(lists: str, fold: int) -> tuple[tuple[str, int], ...]:
    """The pictures of a fold with a class, 1..20, that each shows, in the order of its list.

    Raises:
        ValueError: no such list, or a line that is none of the fold; named.
    """
    require_fold(fold)
    path = pathlib.Path(lists) / f"fold{fold}.txt"
    entries = []
    for number, line in enumerate(_lines(path), 1):
        name, _, label = line.partition("__")
        if not label.isdecimal() or (int(label) - 1) // PER_FOLD != fold:
            first = fold * PER_FOLD + 1
            raise ValueError(
                f"{path} line {number}: {line!r} must be NAME__CLASS with a class in "
                f"{first}..{first + PER_FOLD - 1}"
            )
        entries.append((name, int(label)))
    return tuple(entries)


def picture(folder: str, name: str) -> str:
    """Where a picture is."""
    return str(pathlib.Path(folder) / "JPEGImages" / f"{name}.jpg")


def class_mask(folder: str, name: str, label: int) -> np.ndarray:
    """Where a picture shows a class: bool [H, W]; void counts as not.

    Raises:
        ImageError: no such label map, or one that is none; named.
    """
    path = pathlib.Path(folder) / "SegmentationClassAug" / f"{name}.png"
    return palette.read_labels(path, _MOST_NUMBERS) == label


@dataclasses.dataclass(frozen=True)
class Object:
    """The only object of a picture.

    Attributes:
        name: of the picture.
        label: its class, 1..20.
        box: left, top, right, bottom in pixels; the last two lie just outside.
        shape: height and width of the picture.
    """

    name: str
    label: int
    box: tuple[int, int, int, int]
    shape: tuple[int, int]

    @property
    def share(self) -> float:
        """Of the picture that the box takes."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top) / (self.shape[0] * self.shape[1])

    @property
    def mask(self) -> np.ndarray:
        """The box: bool [H, W]."""
        left, top, right, bottom = self.box
        mask_HW = np.zeros(self.shape, bool)
        mask_HW[top:bottom, left:right] = True
        return mask_HW


def read_objects(folder: str, split: str) -> tuple[Object, ...]:
    """The objects of the pictures of a split that show one object, in the order of its list.

    Args:
        folder: see the module.
        split: "train" or "val".

    Raises:
        ValueError: no such list, or an annotation that is missing or none; named.
    """
    root = pathlib.Path(folder)
    names = _lines(root / "ImageSets" / "Main" / f"{split}.txt")
    found = (_only_object(root / "Annotations" / f"{name}.xml", name) for name in names)
    return tuple(each for each in found if each is not None)


def _only_object(path: pathlib.Path, name: str) -> Object | None:
    try:
        tree = ElementTree.parse(path).getroot()
        objects = tree.findall("object")
        if len(objects) != 1:
            return None
        size = {side: _number(tree, f"size/{side}") for side in ("height", "width")}
        corners = [_number(objects[0], f"bndbox/{c}") for c in ("xmin", "ymin", "xmax", "ymax")]
        label = CLASSES.index(objects[0].findtext("name", "")) + 1
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"cannot read {path} as an annotation of VOC: {error}") from error
    # Corners are counted from 1 and lie inside.
    left, top, right, bottom = corners
    return Object(name, label, (left - 1, top - 1, right, bottom), (size["height"], size["width"]))


def _number(element: ElementTree.Element, path: str) -> int:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"{path} is missing")
    return int(float(text))


def _lines(path: pathlib.Path) -> Sequence[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot read the list {path}: {reason}") from error
    lines = [line.split()[0] for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"the list {path} is empty")
    return lines


def by_class(entries: Sequence[tuple[str, int]]) -> Mapping[int, tuple[str, ...]]:
    """Names of the pictures of every class, in order."""
    grouped: dict[int, list[str]] = {}
    for name, label in entries:
        grouped.setdefault(label, []).append(name)
    return {label: tuple(names) for label, names in grouped.items()}
