"""The manifest of a directory of shards, the index beside it, and what they must be.

Legend: S sentences of the directory.
"""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lvm_jax import atomic, commands
from lvm_jax.data.shards import records
from lvm_jax.storage import paths
from lvm_jax.storage.patience import StoreError

FORMAT = 1
MANIFEST = "manifest.json"
INDEX_FILES = ("num_images.npy", "kinds.npy", "sources.npy")
KEYS = "keys.npy"
RESTORE = "restore it, or remove the directory and build it again"


def read_manifest(directory: pathlib.Path) -> dict[str, Any]:
    """manifest.json, checked against its own checksum.

    Raises:
        ValueError: it is missing, unreadable, altered or of a newer format.
    """
    path = paths.path(directory) / MANIFEST
    if not path.exists():
        build = commands.command("build_shards")
        if any(path.parent.glob("shard-*")):
            raise ValueError(f"{path.parent} is unfinished; run {build} again")
        raise ValueError(f"{path} does not exist; {build} makes shards")
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{path} has format {manifest.get('format')!r}, not {FORMAT}")
    if manifest.get("checksum") != manifest_checksum(manifest):
        raise ValueError(
            f"{path} was altered: it does not match its checksum; restore it or build again"
        )
    return manifest


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object; ValueError names a file that is none."""
    try:
        value = json.loads(path.read_text())
    except StoreError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}; {RESTORE}") from error
    if not isinstance(value, dict):
        raise ValueError(f"cannot read {path}: not a JSON object; {RESTORE}")
    return value


def manifest_checksum(manifest: dict[str, Any]) -> str:
    """SHA-256 over everything in a manifest but the checksum itself."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON that appears only when whole; the manifest is there to be read by people too."""
    atomic.write_json(path, value, indent=1 if path.name == MANIFEST else None)


def content_fingerprint(manifest: dict[str, Any]) -> str:
    """What training depends on: not where the pictures were nor how the files were made."""
    keys = ("format", "vocabulary", "tokenizer_fingerprint", "tokens_per_image", "shards", "index")
    return hashlib.sha256(
        json.dumps({key: manifest[key] for key in keys}, sort_keys=True).encode()
    ).hexdigest()


def write_index(path: pathlib.Path, column: np.ndarray) -> dict[str, Any]:
    """Writes a column, [S]; what the manifest says of it."""
    with atomic.writing(path) as partial, open(partial, "wb") as file:
        np.save(file, column)
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": records.checksum(path),
    }


def count_by_name(names: Sequence[str], ids: np.ndarray, num_images: np.ndarray) -> dict[str, Any]:
    """Sentences and images of each name, of which ids are places: uint16 [S]."""
    sentences, images = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    for start in range(0, len(ids), 1 << 22):  # bincount makes wide copies of what it gets
        part = slice(start, start + (1 << 22))
        sentences += np.bincount(ids[part], minlength=len(names))
        shown = np.bincount(ids[part], weights=num_images[part], minlength=len(names))
        images += shown.astype(np.int64)
    return {
        name: {"sentences": int(sentences[i]), "images": int(images[i])}
        for i, name in enumerate(names)
    }
