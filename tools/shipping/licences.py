"""Whose pictures a model and its tokenizer learned from, and whether what they learned may ship."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FOLDERS = ("folder", "annotation_folder", "annotation_folders")
# Share-alike terms, and those that forbid commerce or changes, would bind whoever uses the package.
_REFUSED = re.compile(r"\b(SA|NC|ND)\b|share-?alike", re.IGNORECASE)
_MODELS = "models"
_EDGES = "edges/"  # drawn of the pictures of the folder that follows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Credit:
    """A package of pictures: a row of ATTRIBUTION.md.

    Attributes:
        package, authors, terms, use: its columns.
    """

    package: str
    authors: str
    terms: str
    use: str

    def is_of(self, folder: str) -> bool:
        """Whether pictures of a folder were made from it."""
        named = re.findall(r"`([^`]+)`", self.use)
        return any(folder == name or folder.startswith(f"{name}/") for name in named)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attribution:
    """An ATTRIBUTION.md as prepare_uvd_mini.py writes it.

    Attributes:
        credits: the packages.
        models: a line for each 3D model: "- NAME: AUTHOR, TERMS".
    """

    credits: tuple[Credit, ...]
    models: tuple[str, ...]

    @classmethod
    def read(cls, file: pathlib.Path) -> "Attribution":
        """Reads the file.

        Raises:
            ValueError: there is none, or it lists no package.
        """
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ValueError(
                f"cannot read {file}: {error.strerror}; name the folder of prepare_uvd_mini.py"
            ) from error
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        found = tuple(
            Credit(package=row[0], authors=row[1], terms=row[2], use=row[3])
            for line, row in zip(lines, rows)
            if line.startswith("|")
            and len(row) == 4
            and row[0] != "package"
            and "---" not in row[0]
        )
        if not found:
            raise ValueError(f"{file} lists no package; write it anew with prepare_uvd_mini.py")
        return cls(credits=found, models=tuple(line for line in lines if line.startswith("- ")))

    def of(self, folders: Iterable[str]) -> "Attribution":
        """What of it is about some folders, and lets a model that learned from them ship.

        Args:
            folders: below a split of the corpus.

        Raises:
            ValueError: nothing is known of one, or its terms are share-alike, non-commercial or
                forbid changes; names it.
        """
        used: set[Credit] = set()
        for folder in sorted(folders):
            for part in {folder, folder.removeprefix(_EDGES)}:
                found = {credit for credit in self.credits if credit.is_of(part)}
                if not found:
                    raise ValueError(
                        f"the terms of {part} are not known: ATTRIBUTION.md has no row for it; a "
                        "model that learned from it cannot ship"
                    )
                used |= found
        credits = tuple(credit for credit in self.credits if credit in used)
        shows_models = any(_MODELS in folder.split("/") for folder in folders)
        models = self.models if shows_models else ()
        for what, terms in (
            *((credit.package, credit.terms) for credit in credits),
            *((line.removeprefix("- ").partition(":")[0], _terms_of(line)) for line in models),
        ):
            if _REFUSED.search(terms):
                raise ValueError(
                    f"{what} is under {terms}, and the model or its tokenizer learned from it; "
                    "what ships is trained without such pictures, see experiments/study/corpus.py"
                )
        return Attribution(credits=credits, models=models)

    def of_pictures(self, places: Iterable[pathlib.PurePosixPath]) -> str:
        """Whose some pictures are, in one line.

        Args:
            places: of the files below a split of the corpus.

        Raises:
            ValueError: as `of`; or nobody is named for a model that they show.
        """
        folders = {place.parent.as_posix() for place in places}
        known = self.of(folders)
        credits = [c for c in known.credits if not c.is_of(_MODELS)]
        whose = list(dict.fromkeys(f"{credit.authors}: {credit.terms}" for credit in credits))
        lines = {line.removeprefix("- ").partition(":")[0]: line[2:] for line in known.models}
        for name in sorted({_model_of(folder) for folder in folders} - {""}):
            if name not in lines:
                raise ValueError(f"ATTRIBUTION.md names no author of the model {name}")
            whose.append(f"model {lines[name]}")
        return f"Cropped, resized and otherwise changed: {'; '.join(whose)}"

    def table(self) -> list[str]:
        """The lines of its table."""
        rows = [(each.package, each.authors, each.terms, each.use) for each in self.credits]
        return [
            "| package | authors | terms | used for |",
            "|---|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]


def _model_of(folder: str) -> str:
    """The model that pictures of a folder show; "" if none."""
    before, found, after = folder.partition(f"{_MODELS}/")
    return after.partition("/")[0] if found and before in ("", _EDGES) else ""


def _terms_of(model: str) -> str:
    return model.rpartition(", ")[2]


def folders_of(sources: Sequence[Mapping[str, Any]], whose: str) -> set[str]:
    """The folders that sources of a training show, below the corpus's folder "train".

    Args:
        sources: as config.json or manifest.json keep them.
        whose: what messages call the training.

    Raises:
        ValueError: one lies elsewhere; named.
    """
    folders = set()
    for source in sources:
        for field in _FOLDERS:
            given = source.get(field) or ()
            for folder in (given,) if isinstance(given, str) else given:
                parts = pathlib.PurePosixPath(folder).parts
                if "train" not in parts:
                    raise ValueError(
                        f"{whose} learned from {folder}, which is not in the part of the corpus "
                        "for training"
                    )
                last = len(parts) - 1 - parts[::-1].index("train")
                folders.add("/".join(parts[last + 1 :]))
    return folders
