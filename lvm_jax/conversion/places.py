"""Where a checkpoint goes: it appears when whole, and replaces nothing but another checkpoint."""

import contextlib
import fnmatch
import pathlib
import shutil
from collections.abc import Iterator, Sequence

from lvm_jax import atomic
from lvm_jax.configs import ConfigError, Field

# What checkpoints consist of, in the formats that are written.
_OWN = ("config.json", "generation_config.json", "params", "*.safetensors", "*.safetensors.index.*")


def require_free(
    out: pathlib.Path, sources: Sequence[str], num_bytes: int, *, overwrite: bool
) -> None:
    """Refuses a place that holds something else, or where a checkpoint has no room.

    Args:
        out: file or folder to be written.
        sources: what is read meanwhile.
        num_bytes: of the checkpoint.
        overwrite: an older checkpoint is replaced.

    Raises:
        ValueError: says what is there, or how much room there is.
    """
    name = Field("out"), f"={out}"
    for source in map(pathlib.Path, sources):
        if out.resolve() in (source.resolve(), *source.resolve().parents):
            raise ConfigError(*name, f" holds the source {source}; choose another place")
    if out.is_dir():
        found = sorted(entry.name for entry in out.iterdir())
        others = [name for name in found if not any(fnmatch.fnmatch(name, own) for own in _OWN)]
        if others:
            raise ConfigError(*name, f" holds {others[0]}; choose a new folder")
        exists = bool(found)
    else:
        exists = out.exists()
    if exists and not overwrite:
        raise ConfigError(*name, " exists; choose another, or ", Field("overwrite"))
    above = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(above).free
    if free < num_bytes:
        raise ConfigError(
            *name,
            f" needs {num_bytes / 1e9:.1f} GB and {above} has {free / 1e9:.1f}; free space, choose "
            "another place, or a smaller ",
            Field("dtype"),
        )


@contextlib.contextmanager
def appearing(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A block that makes a file or folder, which takes its place when the block has ended well.

    Yields:
        Where to make it: beside its place, and not there yet.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    partial = out.with_name(f"{out.name}.partial")
    replaced = out.with_name(f"{out.name}.replaced")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)  # of one that was killed
        yield partial
        if out.exists():
            _remove(replaced)
            out.rename(replaced)
        partial.rename(out)
        _remove(replaced)
    except BaseException as error:
        with contextlib.suppress(OSError):
            _remove(partial)
        if isinstance(error, OSError) and not isinstance(error, atomic.WriteError):
            raise atomic.write_error(out, error) from error
        raise


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
