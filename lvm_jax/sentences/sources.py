"""Folders of images -> visual sentences.

Paper: Bai et al. 2023, section 3.1. A sentence is a layout of items, and in pairs a relation of two
images. Each kind is one frozen dataclass, made of these by `make_kind`; all kinds by name are in
`kinds.KINDS`. A sentence is a pure function of (seed, epoch, index): which pictures it shows, which
square of each, mirrored or not.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.draws import Draws
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences import files, squares
from lvm_jax.sentences.dealing import Deck
from lvm_jax.sentences.layouts import Layout
from lvm_jax.sentences.selection import Selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentence:
    """An ordered row of images with a kind.

    Attributes:
        kind: what the row is, such as "colorization".
        source: name of the source in the config.
        key: the pictures shown, named relative to their folder; splits by identity use it.
        images: the row.
    """

    kind: str
    source: str
    key: str
    images: tuple[ImageRef, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What every source has; `make_kind` adds what its layout and relation have.

    Attributes:
        kind: name of the kind.
        folder: where the images are; folders inside it are searched too, and `*` stands for any
            folder name.
        name: what reports call this source; the kind if empty. It seeds the source's draws.
        include: patterns on relative names without extension, in which `*` stands for any text and
            nothing else is special; only pictures that match one are used.
        exclude: the same, for pictures that are left out, such as held-out ones.
        sentences_per_epoch: how many sentences an epoch has; 0 shows every picture once.
        crop: a random square, its side this share of the short side (smallest, largest); None
            takes the whole central square.
        flip: mirrors left to right half of the time.
        same_crop: the images of a sentence have one square and one mirroring; False draws them anew
            for every picture (an image with its annotation stays together), which gives more
            different images, and lets a sentence show several squares of one picture.
    """

    layout_class: ClassVar[type[Layout]]
    # Field of the layout -> the class of what it holds.
    part_classes: ClassVar[Mapping[str, type]]

    kind: str = ""
    folder: str
    name: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    sentences_per_epoch: int = 0
    crop: tuple[float, float] | None = None
    flip: bool = False
    same_crop: bool = True

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", self.kind)
        require_at_least(self, 0, "sentences_per_epoch")
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ConfigError(
                Field("crop"),
                f"={self.crop} must be (smallest, largest) shares of the short side, "
                "0 < smallest <= largest <= 1",
            )
        self._layout.check_squares(self.crop, self.same_crop)
        files.require_folders({"folder": self.folder, **self._layout.listing.folders})

    @functools.cached_property
    def _layout(self) -> Layout:
        parts = {name: self._part(cls, {}) for name, cls in self.part_classes.items()}
        return self._part(self.layout_class, parts)

    def _part(self, cls: Any, parts: Mapping[str, Any]) -> Any:
        """Makes a layout or a part of one from the fields that `make_kind` took from it."""
        own = [field.name for field in dataclasses.fields(cls) if field.name not in parts]
        return cls(**{name: getattr(self, name) for name in own}, **parts)

    @functools.cached_property
    def deck(self) -> Deck:
        """Deals items to sentences."""
        return self._layout.deck(
            Selection(
                name=self.name, folder=self.folder, include=self.include, exclude=self.exclude
            )
        )

    @property
    def items(self) -> tuple[Any, ...]:
        """What sentences are dealt from, by key; see `listings.Item`.

        Raises:
            ValueError: no folder, no image, two files of one key, a pattern without a match.
        """
        return self.deck.items

    @property
    def files(self) -> Iterable[str]:
        """Every file that sentences are made from; some may come twice."""
        return (path for item in self.items for path in item.files)

    @property
    def documents(self) -> Sequence[str]:
        """Files that say what is in pictures; small enough to be compared by content."""
        return self._layout.listing.documents

    @property
    def images_per_sentence(self) -> int:
        """Images in one sentence; at most so many where sentences of a source differ."""
        return self._layout.num_images(self.deck)[1]

    @property
    def fewest_images(self) -> int:
        """What every sentence has at least; `images_per_sentence` is what it has at most."""
        return self._layout.num_images(self.deck)[0]

    def num_sentences(self) -> int:
        """Sentences in an epoch."""
        return self.sentences_per_epoch or self.deck.num_sentences

    def sentence(self, seed: int, epoch: int, index: int) -> Sentence:
        """The sentence at `index` of an epoch; the same for ever for the same arguments."""
        draws = Draws(seed, epoch, index, self.name)
        taken = self.deck.deal(seed, epoch * self.num_sentences() + index)
        own_squares = squares.drawn(draws, self.crop, self.flip, self.same_crop)
        shown: list[str] = []
        row: list[ImageRef] = []
        for item, images in zip(taken, self._layout.images(taken, own_squares, draws)):
            shown.append(item.key)
            row += images
        key = "+".join(dict.fromkeys(shown))
        return Sentence(kind=self.kind, source=self.name, key=key, images=tuple(row))


def make_kind(name: str, layout: type[Layout], **parts: type) -> type[Source]:
    """Makes the class of a kind of source.

    Args:
        name: of the kind.
        layout: a frozen dataclass.
        parts: field of the layout -> a frozen dataclass that it holds, such as a relation.

    Returns:
        A frozen dataclass: the fields of `Source`, those of the layout, and those of a part in the
        place of the field that holds it.
    """
    fields = list(_flat(layout, parts))
    taken = {field.name for field in dataclasses.fields(Source)} & {name for name, *_ in fields}
    assert not taken, f"{name}: every source has {taken}"
    made = dataclasses.make_dataclass(
        "".join(map(str.title, name.split("_"))) + "Source",
        [("kind", str, name), *fields],
        bases=(Source,),
        namespace={
            "__doc__": _doc(layout, *parts.values()),
            "__module__": __name__,
            "layout_class": layout,
            "part_classes": parts,
        },
        frozen=True,
        kw_only=True,
    )
    return typing.cast(type[Source], made)


def _flat(cls: Any, parts: Mapping[str, type]) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of the fields of a dataclass and of its parts."""
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name in parts:
            yield from _flat(parts[field.name], {})
        else:
            # A field belongs to one class.
            default = dataclasses.field(
                default=field.default, default_factory=field.default_factory
            )
            yield field.name, types[field.name], default


def _doc(*classes: type) -> str:
    """What the last says that it is, and the fields of all."""
    heading = "\n\nAttributes:\n"
    texts = [inspect.cleandoc(c.__doc__ or "") for cls in classes for c in reversed(cls.__mro__)]
    fields = [text.partition(heading)[2] for text in texts]
    return texts[-1].partition(heading)[0] + heading + "\n".join(filter(None, fields))
