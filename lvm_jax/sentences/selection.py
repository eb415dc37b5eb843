"""What a source takes of its folders: names that match patterns and have their partners."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from lvm_jax import file_names
from lvm_jax.sentences import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which files of a folder a source takes.

    Attributes:
        name: of the source; messages begin with it.
        folder: the source's.
        include, exclude: patterns on keys; see `sources.Source`.
    """

    name: str
    folder: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def keys(self, keys: Iterable[str]) -> list[str]:
        """Those that match one of `include` (all if empty) and none of `exclude`, sorted.

        Raises:
            ValueError: a pattern that matches nothing, or nothing left.
        """
        keys = sorted(keys)
        self._require_used("include", self.include, keys)
        self._require_used("exclude", self.exclude, keys)
        included, excluded = file_names.Patterns(self.include), file_names.Patterns(self.exclude)
        kept = [k for k in keys if (not self.include or k in included) and k not in excluded]
        if not kept:
            raise ValueError(
                f"{self.name}: include and exclude leave no image of the {len(keys)} in "
                f"{self.folder}"
            )
        return kept

    def _require_used(self, field: str, patterns: Sequence[str], keys: Sequence[str]) -> None:
        known = {file_names.canonical(key) for key in keys}
        for pattern in patterns:
            is_used = file_names.canonical(pattern) in known or (
                "*" in pattern and any(file_names.matches(key, pattern) for key in keys)
            )
            if not is_used:
                raise ValueError(
                    f"{self.name}.{field}: pattern {pattern!r} matches no image in {self.folder}; "
                    "patterns (only * is special) match names without extension, such as "
                    f"{keys[0]!r}"
                )

    def matched(self, folders: Mapping[str, str]) -> list[tuple[str, tuple[str, ...]]]:
        """Image files of one name from several folders: (key, a path in each), sorted by key.

        Args:
            folders: what a file of a folder is called in messages -> the folder.

        Raises:
            ValueError: what `keys` refuses, or files without a partner (named).
        """
        by_key = files.align([files.by_stem(folder) for folder in folders.values()])
        keys = self.keys(set().union(*by_key))
        self.require_partners(keys, dict(zip(folders, by_key)), list(folders.values()))
        return [(key, tuple(paths[key] for paths in by_key)) for key in keys]

    def require_partners(
        self, keys: Sequence[str], sides: Mapping[str, Mapping[str, str]], folders: Sequence[str]
    ) -> None:
        """Refuses keys that are missing on a side.

        Args:
            keys: those that are used.
            sides: what a file of that side is called -> (key -> path).
            folders: of the sides, in their order.

        Raises:
            ValueError: names the files without a partner.
        """
        alone = []
        for what, paths in sides.items():
            others = [other for other in sides.values() if other is not paths]
            for key in keys:
                if key not in paths:
                    path = next(other[key] for other in others if key in other)
                    alone.append(f"{path} has no {what}")
        if alone:
            first, *rest = folders
            raise ValueError(
                f"{self.name}: {files.listed(self.name, alone)}; every image in {first} needs a "
                f"file of the same name in {' and '.join(rest)} and the other way round: add the "
                f"missing ones or list the others in {self.name}.exclude"
            )
