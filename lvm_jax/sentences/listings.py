"""What sources deal their sentences from: image files, alone or with files of the same names."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lvm_jax.sentences.selection import Selection


class Item(Protocol):
    """What sentences are dealt from.

    Attributes:
        key: its name relative to the source's folder, without extension.
        files: what it is made of.
    """

    @property
    def key(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]: ...


class Listing:
    """Finds the items of a source."""

    @property
    def folders(self) -> Mapping[str, str]:
        """Field of the config -> folder, of all that is read besides the source's `folder`."""
        return {}

    @property
    def documents(self) -> Sequence[str]:
        """Files that say what is in pictures; small enough to be compared by content."""
        return ()

    def items(self, selection: Selection) -> tuple[Any, ...]:
        """The items that a source takes, by key.

        Raises:
            ValueError: no folder, nothing in it, two files of one key, a pattern without a match.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """An image file, followed by the files of its annotations."""

    key: str
    files: tuple[str, ...]

    @property
    def path(self) -> str:
        """The image."""
        return self.files[0]


class Pictures(Listing):
    """Every image file of the folder."""

    def items(self, selection: Selection) -> tuple[Picture, ...]:
        return tuple(
            Picture(key=key, files=paths)
            for key, paths in selection.matched({"image": selection.folder})
        )


@dataclasses.dataclass(frozen=True)
class Annotated(Listing):
    """Image files that have annotations of the same names in other folders.

    Attributes:
        annotation_folders: field of the config -> folder.
        what: what messages call the file that a picture needs there; where there are several
            folders, they say which.
    """

    annotation_folders: Mapping[str, str]
    what: str = ""

    @property
    def folders(self) -> Mapping[str, str]:
        return self.annotation_folders

    def items(self, selection: Selection) -> tuple[Picture, ...]:
        """The pictures with their annotations, by key.

        Raises:
            ValueError: what `Listing.items` refuses, or files without a partner (named).
        """
        folders = (selection.folder, *self.annotation_folders.values())
        names = ("image", self.what) if self.what else [f"partner in {at}" for at in folders]
        matched = selection.matched(dict(zip(names, folders)))
        return tuple(Picture(key=key, files=paths) for key, paths in matched)
