"""How processes share the building of a directory: slices, and locks that end with a process.

The locks are `flock`s, which work on local disks and on NFS alike.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
from collections.abc import Iterator

from lvm_jax.atomic import write_error
from lvm_jax.data.building import token_cache
from lvm_jax.data.shards.reader import MANIFEST

_LOCK = ".finishing"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
    """The part of the shards that one process makes: every count-th, from `index` on."""

    index: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"--slice={self} must be I/N with I in 0..N-1, such as 0/2 and 1/2 for two"
            )

    def __str__(self):
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Slice":
        """ "0/2" -> the first of two."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise ValueError(
                f"--slice={text} must be I/N with I in 0..N-1, such as 0/2 and 1/2 for two"
            )
        return cls(index=int(index), count=int(count))


@contextlib.contextmanager
def open_cache(
    out: pathlib.Path, part: Slice, made_by: str, tokens_per_image: int
) -> Iterator[token_cache.TokenCache]:
    """The ids so far: those of this slice, and those of other ways to slice that came before.

    Args:
        out: the directory.
        part: the slice; no other process may work on it, nor on a slice of another number.
        made_by: everything that ids depend on, beside the images.
        tokens_per_image: ids of an image.

    Raises:
        ValueError: another process does.
    """
    name = f"tokens-{hashlib.sha256(made_by.encode()).hexdigest()[:16]}"
    path = out / f"{name}-{part.index}-of-{part.count}.partial"
    for other in sorted(out.glob("tokens-*.partial")):
        expected = other.name.startswith(name) and other.stem.endswith(f"-of-{part.count}")
        if not expected and token_cache.in_use(other):
            raise ValueError(
                f"--out={out} is being built by another process in another way ({other.name}); "
                "let it end, or give all processes slices of one number, such as 0/2 and 1/2"
            )
    others = [other for other in out.glob(f"{name}-*.partial") if other != path]
    try:
        cache = token_cache.TokenCache(path, tokens_per_image, others)
    except BlockingIOError as error:
        raise ValueError(
            f"--out={out}: slice {part} is being built by another process; let it end, or give "
            "every process its own --slice"
        ) from error
    with contextlib.closing(cache):
        yield cache


@contextlib.contextmanager
def finishing(out: pathlib.Path) -> Iterator[None]:
    """One process at a time; it ends with the process, however that ends."""
    path = out / _LOCK
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield
    finally:
        # Who comes later finds the manifest, whichever file he locks.
        if (out / MANIFEST).exists():
            path.unlink(missing_ok=True)
        os.close(file)
