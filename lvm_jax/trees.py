"""Nested dicts of arrays: flat names, counts, safetensors files.

A parameter tree in this project is a plain nested dict with string keys; its flat form names every
leaf by its path, joined with "/".
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from lvm_jax import atomic, configs
from lvm_jax.storage import paths
from lvm_jax.storage.patience import StoreError

SEPARATOR = "/"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict -> {"a/b/c": leaf}, in key order.

    Raises:
        ValueError: a key is not a string or holds the separator.
    """
    flat = {}
    for key in sorted(tree):
        if not isinstance(key, str) or SEPARATOR in key:
            raise ValueError(f"tree key {prefix + str(key)!r} must be a string without '/'")
        value = tree[key]
        if isinstance(value, Mapping):
            flat.update(flatten(value, prefix + key + SEPARATOR))
        else:
            flat[prefix + key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *parents, last = name.split(SEPARATOR)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def count_parameters(tree: Any) -> int:
    """Number of elements in all leaves (arrays or `jax.ShapeDtypeStruct`)."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def first_differences(
    expected: Mapping[str, Any], given: Mapping[str, Any], most: int = 5, *, dtypes: bool = True
) -> list[str]:
    """The first few ways in which two trees of arrays differ in names, shapes or dtypes.

    Args:
        expected, given: nested dicts of what has a shape and a dtype.
        most: differences to name; how many more there are is said.
        dtypes: of floating-point numbers any dtype will do without it.
    """
    want, have = flatten(expected), flatten(given)
    lines = []
    for name in sorted(want.keys() | have.keys()):
        if name not in have:
            lines.append(f"{name} is missing")
        elif name not in want:
            lines.append(f"{name} is unexpected")
        elif tuple(want[name].shape) != tuple(have[name].shape):
            lines.append(
                f"{name} has shape {tuple(have[name].shape)}, not {tuple(want[name].shape)}"
            )
        elif not _is_same(want[name].dtype, have[name].dtype, exactly=dtypes):
            lines.append(f"{name} is {have[name].dtype}, not {want[name].dtype}")
    return configs.first_few(lines, most)


def _is_same(one: Any, other: Any, *, exactly: bool) -> bool:
    if not exactly and all(jnp.issubdtype(dtype, jnp.floating) for dtype in (one, other)):
        return True
    return np.dtype(one) == np.dtype(other)


def fingerprint(tree: Mapping[str, Any]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all leaves; 64 hex digits."""
    digest = hashlib.sha256()
    for name, leaf in flatten(tree).items():
        array = np.asarray(leaf)
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save_safetensors(
    path: pathlib.Path, tree: Mapping[str, Any], *, metadata: dict[str, str] | None = None
) -> None:
    """Writes a tree of arrays; the file appears under its name only when whole.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in flatten(tree).items()}
    with atomic.writing(path) as partial:
        # The library lets only the owner read what it writes; an empty file of ours says what the
        # umask gives.
        partial.unlink(missing_ok=True)
        partial.touch()
        mode = partial.stat().st_mode
        try:
            safetensors.numpy.save_file(arrays, str(partial), metadata)
        except safetensors.SafetensorError as error:
            raise atomic.write_error(path, error) from error
        partial.chmod(mode)


def load_safetensors(path: pathlib.Path) -> dict[str, Any]:
    """Reads a tree written by `save_safetensors`.

    Raises:
        ValueError: the file is missing or is not a safetensors file.
    """
    try:
        if stored := paths.store_path(path):
            return unflatten(safetensors.numpy.load(stored.read_bytes()))
        return unflatten(safetensors.numpy.load_file(str(path)))
    except StoreError:
        raise
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"cannot read weights {path}: {error}") from error
