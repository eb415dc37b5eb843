"""Where a run keeps its files: on a disk, or on an object store under a URL.

A store has objects under keys; that a key holds slashes makes no folders. So a directory is there
while there is an object in it, making one does nothing, and an object appears whole or not at all.
"""

import concurrent.futures
import dataclasses
import functools
import importlib
import logging
import os
import pathlib
import re
from collections.abc import Iterator
from typing import IO, Any, Literal, NamedTuple, cast

from lvm_jax.storage import patience

# Scheme -> the package that knows it, which is the extra of that name too.
_EXTRAS = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3")}
_COPIES_AT_ONCE = 8
_URL = re.compile(r"(gs|s3):/+")


def path(text: "str | os.PathLike") -> pathlib.Path:
    """The path that a user names.

    Args:
        text: `gs://BUCKET/...` or `s3://BUCKET/...`, a path of a disk, or what this function gave.

    Returns:
        A `pathlib.Path`, or a `StorePath`, which has the methods of it that this package uses.
    """
    if isinstance(text, StorePath):
        return cast(pathlib.Path, text)
    if scheme := _URL.match(os.fspath(text)):
        key = os.fspath(text)[scheme.end() :]
        return cast(pathlib.Path, StorePath(scheme[1], "/".join(filter(None, key.split("/")))))
    return pathlib.Path(text)


def store_path(where: "str | os.PathLike") -> "StorePath | None":
    """A path that lies on a store as what it is; None for one of a disk."""
    found = cast(object, path(where))
    return found if isinstance(found, StorePath) else None


class Stat(NamedTuple):
    """What is known of an object: bytes, and when it was written in seconds since 1970."""

    st_size: int
    st_mtime: float


class Listed(NamedTuple):
    """An object of a listing: bytes, and the store's CRC-32C in base64, "" where it tells none."""

    size: int
    crc32c: str


@dataclasses.dataclass(frozen=True, order=True)
class StorePath:
    """An object of a store, or what would be a directory of them; see the module.

    Methods do what those of `pathlib.Path` do and raise `OSError`s as they do, or
    `patience.StoreError`.

    Attributes:
        scheme: "gs" or "s3".
        key: bucket and name, without slashes at its ends.
    """

    scheme: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __fspath__(self) -> str:
        return str(self)

    def as_posix(self) -> str:
        return str(self)

    def __truediv__(self, other: str | os.PathLike) -> "StorePath":
        names = filter(None, os.fspath(other).split("/"))
        return StorePath(self.scheme, "/".join((self.key, *names)))

    @property
    def bucket(self) -> str:
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return pathlib.PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "StorePath":
        above = self.key.rpartition("/")[0]
        return StorePath(self.scheme, above or self.key)

    def with_name(self, name: str) -> "StorePath":
        return self.parent / name

    def absolute(self) -> "StorePath":
        return self

    def exists(self) -> bool:
        return self._kind() != ""

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def _kind(self) -> Literal["", "file", "directory"]:
        try:
            return self._ask("info", self.key)["type"]
        except FileNotFoundError:
            return ""

    def stat(self) -> Stat:
        about = self._ask("info", self.key)
        written = about.get("mtime") or about.get("LastModified")
        return Stat(int(about["size"]), written.timestamp() if written else 0.0)

    def iterdir(self) -> Iterator["StorePath"]:
        found = self._ask("ls", self.key, detail=False)
        keys = {found_key.rstrip("/") for found_key in found} - {self.key}
        return (StorePath(self.scheme, key) for key in sorted(keys))

    def glob(self, pattern: str) -> Iterator["StorePath"]:
        """Of `pattern` only `*` is special, and it names what is in this directory itself."""
        like = re.compile(".*".join(map(re.escape, pattern.split("*"))))
        try:
            return (inner for inner in self.iterdir() if like.fullmatch(inner.name))
        except FileNotFoundError:
            return iter(())

    def listing(self) -> dict[str, Listed]:
        """Every object below, by its name from here, as one listing tells of it."""
        found = self._ask("find", self.key, detail=True)
        return {
            key.removeprefix(f"{self.key}/"): Listed(int(about["size"]), about.get("crc32c") or "")
            for key, about in found.items()
        }

    def read_bytes(self) -> bytes:
        return self._ask("cat_file", self.key)

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, data: bytes, *, create: bool = False) -> int:
        """Writes the object anew.

        Args:
            data: all of it.
            create: only where there is none; who comes second gets a `FileExistsError`.
        """
        self._ask("pipe_file", self.key, data, mode="create" if create else "overwrite")
        return len(data)

    def upload(self, source: pathlib.Path) -> None:
        """Makes the object of a file of this machine."""
        self._ask("put_file", os.fspath(source), self.key)

    def upload_all(self, folder: pathlib.Path) -> None:
        """Makes objects of all files of a folder of this machine, under their names in it."""
        for source in sorted(path for path in folder.rglob("*") if path.is_file()):
            (self / source.relative_to(folder).as_posix()).upload(source)

    def open(self, mode: str = "rb") -> IO[bytes]:
        assert mode == "rb", "whole objects are written with write_bytes"
        return patience.ask(str(self), lambda: self.system.open(self.key, mode))

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: there are no directories."""

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._ask("rm_file", self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmtree(self) -> None:
        """Removes everything below."""
        self._ask("rm", self.key, recursive=True)

    def rename(self, target: "StorePath") -> "StorePath":
        """Everything below gets other names, by copies that the store makes."""
        names = list(self.listing())
        with concurrent.futures.ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            list(pool.map(lambda name: self._copy(name, target), names))
        self.rmtree()
        return target

    def _copy(self, name: str, target: "StorePath") -> None:
        self._ask("cp_file", (self / name).key, (target / name).key)

    @property
    def system(self) -> Any:
        """The fsspec file system of the store.

        Raises:
            patience.StoreError: its package is missing; names the extra.
        """
        return _system(self.scheme)

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        return patience.ask(str(self), lambda: getattr(self.system, method)(*arguments, **options))


@functools.cache
def _system(scheme: str) -> Any:
    package, extra = _EXTRAS[scheme]
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{scheme}:// needs {package}; install lvm_jax[{extra}]") from error
    import fsspec

    # gcsfs logs a traceback for each error that it raises, and `patience` says it in one line.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    # Other machines write there too: what was listed once says nothing about now.
    return fsspec.filesystem(scheme, use_listings_cache=False)
