"""What FID and KID keep of a folder of pictures: moments and features, found once and stored.

Legend: B pictures of a batch, S 299 pixels, N pictures, D features.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np

from lvm_jax import atomic, configs, image_folders, images
from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.images import ImageConfig
from lvm_jax.measures import feature_distances, inception
from lvm_jax.measures.feature_distances import Moments
from lvm_jax.pictures.loader import SquareLoader

EXTENSION = ".npz"
MOST_KEPT = 20_000
"""Pictures whose own features are kept for KID, spread evenly over the folder: 160 MB."""
_FEWEST = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How pictures become features.

    Attributes:
        resize: how they are stretched to Inception's 299 pixels, see `inception`.
        size: side of the square that they become first, as pictures for a model do; None stretches
            them as they are.
        images: how files are read, and with `size` how they become squares.
        batch_size: pictures in one call of Inception.
        num_threads: threads that read pictures.
    """

    resize: inception.Resize = "tensorflow"
    size: int | None = None
    images: ImageConfig = dataclasses.field(default_factory=ImageConfig)
    batch_size: int = 32
    num_threads: int = 4

    def __post_init__(self) -> None:
        require_at_least(self, 1, "size", "batch_size", "num_threads")

    def settings(self, weights: str) -> dict[str, Any]:
        """What features depend on besides the pictures, for JSON.

        Args:
            weights: fingerprint of Inception's.
        """
        reading = configs.to_dict(self.images)
        # How large a picture may be decides whether it is read, not what it becomes.
        known = ["background", *(["resize", "reduced_jpeg"] if self.size else [])]
        return {
            "inception": weights,
            "resize": self.resize,
            "size": self.size,
            "images": {name: reading[name] for name in known},
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderFeatures:
    """What is known of a folder.

    Attributes:
        moments: of the features of all pictures.
        features: float32 [N, D] of at most `MOST_KEPT` of them; None where a file keeps none.
        settings: see `FeatureConfig.settings`; None where a file does not say.
    """

    moments: Moments
    features: np.ndarray | None
    settings: Mapping[str, Any] | None


Extract = Callable[[np.ndarray], np.ndarray]
"""float32 [B, S, S, 3], see `inception.prepare` -> float32 [B, D]."""


def extractor(params: inception.Params) -> Extract:
    """Inception with these weights, as a program."""
    run = jax.jit(inception.features)
    on_device = jax.device_put(params)
    return lambda x_BSS3: np.asarray(run(on_device, x_BSS3))


def of_folder(
    folder: str | os.PathLike,
    config: FeatureConfig,
    weights: str,
    extract: Extract,
    *,
    cache: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FolderFeatures:
    """Reads all pictures below a folder, or what a call with the same ones left.

    Args:
        folder: of pictures.
        config: how they become features.
        weights: fingerprint of Inception's.
        extract: with these.
        cache: folder for what was found, under a name that names, sizes and times of the pictures,
            the weights and the settings decide; None keeps nothing.
        progress: called with the pictures done and of all.

    Raises:
        ValueError: no folder, too few pictures, or one that cannot be read; named.
        atomic.WriteError: the cache's disk is full or read-only.
    """
    paths = image_folders.list_images(folder)
    if len(paths) < _FEWEST:
        raise ValueError(f"{folder} has {len(paths)} pictures; FID and KID take {_FEWEST} at least")
    settings = config.settings(weights)
    kept = None if cache is None else pathlib.Path(cache) / _name(folder, paths, settings)
    if kept is not None and kept.is_file():
        progress(len(paths), len(paths))
        return read(kept)
    if kept is not None:
        _require_folder(kept.parent)
    spread = np.linspace(0, len(paths) - 1, min(MOST_KEPT, len(paths))).round().astype(int)
    chosen, rows = set(spread.tolist()), []

    def batches() -> Iterator[np.ndarray]:
        done = 0
        for batch_BSS3, num in _batches(paths, config):
            features_BD = extract(batch_BSS3)[:num]
            if not np.isfinite(features_BD).all():
                raise ValueError(f"the features of {paths[done]} or pictures after it overflow")
            rows.extend(row.copy() for i, row in enumerate(features_BD, done) if i in chosen)
            done += num
            progress(done, len(paths))
            yield features_BD

    found = FolderFeatures(
        moments=feature_distances.moments(batches()),
        features=np.stack(rows),
        settings=settings,
    )
    if kept is not None:
        write(kept, found)
    return found


def _require_folder(cache: pathlib.Path) -> None:
    """Before hours of work rather than after them."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic.write_error(cache, error) from error


def _name(
    folder: str | os.PathLike, paths: Sequence[pathlib.Path], settings: Mapping[str, Any]
) -> str:
    """Of a folder's file in the cache."""
    states = [(os.path.relpath(path, folder), os.stat(path)) for path in paths]
    listing = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    text = json.dumps([settings, MOST_KEPT, listing], sort_keys=True)
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return f"features_{digest[:24]}{EXTENSION}"


def _batches(
    paths: Sequence[pathlib.Path], config: FeatureConfig
) -> Iterator[tuple[np.ndarray, int]]:
    """float32 [B, S, S, 3] and how many of them count; one batch is read ahead."""
    size = min(config.batch_size, len(paths))
    parts = [paths[i : i + size] for i in range(0, len(paths), size)]
    load = functools.partial(_load, config, _reader(config))
    with futures.ThreadPoolExecutor(config.num_threads) as pool:
        start = lambda part: [pool.submit(load, path) for path in part]
        try:
            reading = start(parts[0])
            for part in itertools.chain(parts[1:], [()]):
                following = start(part)
                batch = [prepared.result() for prepared in reading]
                # The last batch is filled up: another size would be another program.
                yield np.stack(batch + [batch[-1]] * (size - len(batch))), len(batch)
                reading = following
        finally:
            pool.shutdown(cancel_futures=True)


def _reader(config: FeatureConfig) -> Callable[[pathlib.Path], np.ndarray]:
    if config.size is not None:
        return SquareLoader(config.images, config.size).load_file
    limit, background = config.images.max_pixels, config.images.background
    return lambda path: images.read_image(path, limit, background=background)


def _load(
    config: FeatureConfig, read_one: Callable[[pathlib.Path], np.ndarray], path: pathlib.Path
) -> np.ndarray:
    return inception.prepare(read_one(path), config.resize)


def write(path: str | os.PathLike, found: FolderFeatures) -> None:
    """Stores a folder's features; "mu" and "sigma" are those that pytorch-fid reads too.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    arrays: dict[str, Any] = {"mu": found.moments.mean, "sigma": found.moments.covariance}
    if found.moments.num is not None:
        arrays["num_images"] = np.int64(found.moments.num)
    if found.features is not None:
        arrays["features"] = found.features
    if found.settings is not None:
        arrays["settings"] = np.array(json.dumps(found.settings))
    with atomic.writing(path, parents=True) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def read(path: str | os.PathLike) -> FolderFeatures:
    """What `write` stored, or a file of pytorch-fid, which has moments alone.

    Raises:
        ValueError: no such file, a damaged one, or one of something else; named.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        settings = json.loads(str(arrays["settings"])) if "settings" in arrays else None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} is no file of features: {error}") from error
    dim, features_ND = inception.NUM_FEATURES, arrays.get("features")
    shapes = {"mu": (dim,), "sigma": (dim, dim)}
    if features_ND is not None:
        shapes["features"] = (len(features_ND), dim)
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != shape:
            what = f"{name} of shape {arrays[name].shape}" if name in arrays else f"no {name}"
            raise ValueError(f"{path} is no file of features: it has {what}, not {name} {shape}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{path}: {name} holds values that are not finite")
    num = int(arrays["num_images"]) if "num_images" in arrays else None
    if features_ND is not None and len(features_ND) == num and num < dim:
        moments = feature_distances.moments([features_ND])
    else:
        mean, covariance = (np.asarray(arrays[name], np.float64) for name in ("mu", "sigma"))
        moments = Moments(num=num, mean=mean, covariance=covariance)
    return FolderFeatures(moments=moments, features=features_ND, settings=settings)


def require_same_settings(
    found: FolderFeatures, path: str | os.PathLike, wanted: Mapping[str, Any]
) -> None:
    """Refuses stored features that other weights or another way of reading made.

    Raises:
        ConfigError: names what differs, with both values.
    """
    if found.settings is None:
        return
    for where, theirs, ours in configs.differences(found.settings, wanted, "settings"):
        name, theirs = where.removeprefix("settings."), configs.shorten(theirs)
        raise ConfigError(
            f"{path} was made with {name}={theirs}, not {configs.shorten(ours)}; give the folder "
            "instead, or ",
            *(Field("inception"), ", ", Field("resize"), " and ", Field("size"), " as then"),
        )
