"""How processes share the building of a directory: slices, and locks that end with a process.

The locks are `flock`s, which work on local disks and on NFS alike.
"""

import contextlib
import dataclasses
import fcntl
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from lvm_jax.atomic import write_error
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.shards.manifest import MANIFEST

_LOCK = ".finishing"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
    """The part of the shards that one process makes: every count-th, from `index` on."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise _no_slice(str(self))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Slice":
        """ "0/2" -> the first of two."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise _no_slice(text)
        return cls(index=int(index), count=int(count))


def _no_slice(text: str) -> ConfigError:
    remedy = "must be I/N with I in 0..N-1, such as 0/2 and 1/2 for two"
    return ConfigError(Field("slice"), f"={text} {remedy}")


@contextlib.contextmanager
def claim(out: pathlib.Path, part: Slice, build_key: str) -> Iterator[None]:
    """Keeps other processes from a slice, and from all that build in another way.

    Args:
        out: the directory.
        part: the slice.
        build_key: of the shards.

    Raises:
        ConfigError: another process has the slice, or slices of another number or of other shards.
    """
    name = f"slice-{build_key[:16]}"
    path = out / f"{name}-{part.index}-of-{part.count}.partial"
    try:
        lock = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            *(Field("out"), f"={out}: slice {part} is being built by another process; "),
            "let it end, or give every process its own slice",
        ) from error
    with lock:
        for other in sorted(out.glob("slice-*.partial")):
            alike = other.name.startswith(name) and other.stem.endswith(f"-of-{part.count}")
            if not alike and _in_use(other):
                raise ConfigError(
                    *(Field("out"), f"={out} is being built by another process in another way "),
                    f"({other.name}); let it end, or give all processes slices of one number, "
                    "such as 0/2 and 1/2",
                )
        yield


@contextlib.contextmanager
def finishing(out: pathlib.Path) -> Iterator[None]:
    """One process at a time; it ends with the process, however that ends."""
    path = out / _LOCK
    with _lock(path, fcntl.LOCK_EX):
        try:
            yield
        finally:
            # Who comes later finds the manifest, whichever file he locks.
            if (out / MANIFEST).exists():
                path.unlink(missing_ok=True)


def _lock(path: pathlib.Path, how: int) -> BinaryIO:
    """Opens a file, made if missing, and locks it until it is closed."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "ab"))
            fcntl.flock(file, how)
        except BlockingIOError:
            raise
        except OSError as error:
            raise write_error(path, error) from error
        stack.pop_all()
        return file


def _in_use(path: pathlib.Path) -> bool:
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
