"""A trained tokenizer for use: images <-> ids, and the directory it lives in.

Letters: B images of any number, H and W pixels, T ids per image.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int

from lvm_jax import atomic, configs, image_record, trees
from lvm_jax.images import ImageConfig
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.storage import paths
from lvm_jax.storage.patience import StoreError
from lvm_jax.tokenizer import vqgan
from lvm_jax.tokenizer.vqgan_config import VQGANConfig

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
FORMAT_VERSION = 1
StoredType = Literal["float32", "bfloat16"]

# Pixels per device and jitted call: small on a CPU, where a lone image pays for a whole chunk.
_CHUNK_PIXELS = {"cpu": 2**16}
_CHUNK_PIXELS_ACCELERATOR = 2**21


class Tokenizer:
    """Images <-> ids with fixed weights.

    Everything runs in float32 with the highest matmul precision. Every device works on chunks of
    one fixed shape (the last one padded) and exchanges nothing with the others, so that the ids of
    an image depend neither on what else is in its batch nor on the number of devices. The processes
    of a run work apart too: each encodes its own images with its own devices.

    Args:
        config: the geometry.
        params: as `vqgan.init_params` gives them.
        chunk_size: images per device and jitted call; by default chosen from the image size and the
            platform.
        mesh: devices to work on, whatever its axes are called. By default all accelerators of this
            process, or one CPU device: more of those would share the same cores.
        images: how the pictures that it was trained on were read; None when unknown.

    Raises:
        ValueError: parameters that do not fit, or a mesh with devices of other processes.
    """

    def __init__(
        self,
        config: VQGANConfig,
        params: vqgan.Params,
        *,
        chunk_size: int | None = None,
        mesh: Mesh | None = None,
        images: ImageConfig | None = None,
    ):
        check_params(config, params, "the tokenizer's parameters")
        self.config, self.images = config, images
        # Not `jnp.asarray`, which compiles a program for every shape.
        self.params = jax.device_put(params, may_alias=False)
        self.fingerprint = fingerprint(config, params)
        self.mesh = _local_mesh() if mesh is None else mesh
        foreign = [d for d in self.mesh.devices.flat if d.process_index != jax.process_index()]
        if foreign:
            raise ValueError(
                f"the tokenizer's mesh has {len(foreign)} devices of other processes; give a mesh "
                "over jax.local_devices() and let every process encode its own images"
            )
        platform = self.mesh.devices.flat[0].platform
        pixels = _CHUNK_PIXELS.get(platform, _CHUNK_PIXELS_ACCELERATOR)
        self.chunk_size = chunk_size or max(1, pixels // config.image_size**2)
        self._params = jax.device_put(self.params, NamedSharding(self.mesh, P()))
        self._batch = NamedSharding(self.mesh, P(self.mesh.axis_names))
        self._encode = self._on_every_device(self._encode_chunk)
        self._decode = self._on_every_device(self._decode_chunk)

    def _on_every_device(self, function: Any) -> Any:
        # Each device runs the same program on its own images. There is nothing to check about what
        # differs between devices: all of it does, but for the parameters.
        one_device = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=(P(), self._batch.spec),
            out_specs=self._batch.spec,
            check_vma=False,
        )
        return jax.jit(one_device)

    @property
    def image_size(self) -> int:
        """Pixels per side of every image."""
        return self.config.image_size

    @property
    def tokens_per_image(self) -> int:
        """Ids of one image, row by row from the top left."""
        return self.config.tokens_per_image

    @property
    def num_codes(self) -> int:
        """Ids are below this."""
        return self.config.num_codes

    @property
    def images_per_call(self) -> int:
        """Images that all devices take together; batches of a multiple of it waste nothing."""
        return self.chunk_size * self.mesh.size

    def encode(self, images: Any) -> Int[np.ndarray, "B T"]:
        """Images -> int32 ids in [0, num_codes).

        Args:
            images: [B, H, W, 3], float32 in [0, 1] or uint8 in [0, 255], H = W = image_size.

        Raises:
            ValueError: another shape or dtype, or values outside [0, 1].
        """
        images = np.asarray(images)
        size = self.image_size
        if images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"images of shape {images.shape} do not fit this tokenizer; "
                f"give [B, {size}, {size}, 3] (lvm_jax.images.resize_crop makes it)"
            )
        if images.dtype != np.uint8:
            if not np.issubdtype(images.dtype, np.floating):
                raise ValueError(
                    f"images of dtype {images.dtype} must be uint8 or floats in [0, 1]"
                )
            images = images.astype(np.float32)
            # Written so that NaN fails it too.
            if images.size and not (images.min() >= 0.0 and images.max() <= 1.0):
                raise ValueError(
                    f"float images span [{images.min():g}, {images.max():g}]; give values in "
                    "[0, 1], or uint8 in [0, 255]"
                )
        return self._in_chunks(self._encode, images, np.empty((0, self.tokens_per_image), np.int32))

    def decode(self, ids: Any) -> Float[np.ndarray, "B H W 3"]:
        """Ids -> float32 images, clipped to [0, 1].

        Args:
            ids: integers [B, tokens_per_image] in [0, num_codes).

        Raises:
            ValueError: another shape, or an id that is no code.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.shape[1] != self.tokens_per_image:
            raise ValueError(f"ids of shape {ids.shape} must be [B, {self.tokens_per_image}]")
        if not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"ids of dtype {ids.dtype} must be integers")
        if ids.size and not (ids.min() >= 0 and ids.max() < self.num_codes):
            raise ValueError(
                f"ids span [{ids.min()}, {ids.max()}] but codes are 0..{self.num_codes - 1}; "
                "remove special ids before decoding"
            )
        size = self.image_size
        empty = np.empty((0, size, size, 3), np.float32)
        return self._in_chunks(self._decode, ids.astype(np.int32), empty)

    def _in_chunks(self, function: Any, inputs: np.ndarray, empty: np.ndarray) -> np.ndarray:
        outputs = [empty]
        pending = None
        step = self.images_per_call
        for start in range(0, len(inputs), step):
            chunk = inputs[start : start + step]
            if len(chunk) < step:
                chunk = np.pad(chunk, [(0, step - len(chunk))] + [(0, 0)] * (inputs.ndim - 1))
            result = function(self._params, jax.device_put(chunk, self._batch))
            # Read one chunk late, so that the devices have the next one while the host copies.
            if pending is not None:
                outputs.append(np.asarray(pending))
            pending = result
        if pending is not None:
            outputs.append(np.asarray(pending))
        return np.concatenate(outputs)[: len(inputs)]

    def _encode_chunk(self, params: vqgan.Params, images: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            if images.dtype == jnp.uint8:
                images = images.astype(jnp.float32) / 255.0
            z_BhwD = vqgan.encode(self.config, params, images)
            return vqgan.lookup(self.config, params, z_BhwD)

    def _decode_chunk(self, params: vqgan.Params, ids_BT: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return jnp.clip(vqgan.decode_ids(self.config, params, ids_BT), 0.0, 1.0)


def _local_mesh() -> Mesh:
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        devices = devices[:1]
    return make_mesh(MeshConfig(), devices)


def fingerprint(config: VQGANConfig, params: vqgan.Params) -> str:
    """64 hex digits that change with any weight and any setting.

    Settings at their default stay out, so that a new one does not change old fingerprints.
    """
    settings = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    }
    text = json.dumps(settings, sort_keys=True) + trees.fingerprint(params)
    return hashlib.sha256(text.encode()).hexdigest()


def check_params(config: VQGANConfig, params: vqgan.Params, source: str) -> None:
    """Refuses parameters that do not fit the geometry, or are not finite.

    Raises:
        ValueError: says what differs first; `source` is what it calls the parameters.
    """
    differences = trees.first_differences(vqgan.abstract_params(config), params)
    if differences:
        raise ValueError(f"{source} do not fit the configuration: {'; '.join(differences)}")
    for name, leaf in trees.flatten(params).items():
        if not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(f"{source} hold values that are not finite, first in {name}")


def save_tokenizer(
    directory: str | pathlib.Path,
    config: VQGANConfig,
    params: vqgan.Params,
    images: ImageConfig | None = None,
    *,
    dtype: StoredType = "float32",
) -> None:
    """Writes a directory for `load_tokenizer`; arguments as for `Tokenizer`.

    All is computed in float32. "bfloat16" rounds the parameters to it and takes half the space; it
    makes another tokenizer, of another fingerprint, unless they were rounded before.

    An interrupted write over an older tokenizer leaves a directory that `load_tokenizer` refuses,
    never one that mixes two.
    """
    directory = paths.path(directory)
    params = jax.tree.map(np.asarray, params)
    check_params(config, params, f"parameters for {directory}")
    stored = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), stored)
    content = {
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint(config, params),
        "tokenizer": configs.to_dict(config),
        **image_record.entry(images),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        trees.save_safetensors(directory / WEIGHTS_FILE, stored)
        atomic.write_json(directory / CONFIG_FILE, content)
    except OSError as error:
        raise ValueError(
            f"cannot write tokenizer {directory}: {error.strerror or error}; free space or choose "
            "another place"
        ) from error


def load_tokenizer(directory: str | pathlib.Path, *, mesh: Mesh | None = None) -> Tokenizer:
    """Reads a directory written by `save_tokenizer`.

    Args:
        directory: the directory.
        mesh: as for `Tokenizer`.

    Raises:
        ValueError: a file is missing, unreadable, of another version or altered; names the file.
    """
    config_file = paths.path(directory) / CONFIG_FILE
    weights_file = paths.path(directory) / WEIGHTS_FILE
    try:
        content = json.loads(config_file.read_text())
        version, stored, settings = (
            content[key] for key in ("format_version", "fingerprint", "tokenizer")
        )
    except FileNotFoundError:
        raise ValueError(
            f"no tokenizer in {directory}: {config_file} is missing; "
            + _where_a_tokenizer_is(paths.path(directory))
        ) from None
    except StoreError:
        raise
    except KeyError as error:
        raise ValueError(
            f"{config_file} is not a tokenizer's configuration, {error} is missing; "
            + _where_a_tokenizer_is(paths.path(directory))
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{config_file} is not a tokenizer's configuration: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{config_file} has format version {version}; this program reads {FORMAT_VERSION}"
        )
    config = configs.build_stored(VQGANConfig, settings, f"{config_file}: tokenizer")
    params = jax.tree.map(_widen, trees.load_safetensors(weights_file))
    check_params(config, params, str(weights_file))
    images = image_record.read(content, str(config_file))
    tokenizer = Tokenizer(config, params, mesh=mesh, images=images)
    if tokenizer.fingerprint != stored:
        raise ValueError(
            f"{weights_file} or {config_file} was altered: its fingerprint is "
            f"{tokenizer.fingerprint[:12]}, not {str(stored)[:12]}; write the tokenizer again"
        )
    return tokenizer


def _widen(leaf: np.ndarray) -> np.ndarray:
    """float32 of what is stored in half of its bits; anything else is for `check_params`."""
    return leaf.astype(np.float32) if leaf.dtype == jnp.bfloat16 else leaf


def _where_a_tokenizer_is(directory: pathlib.Path) -> str:
    """The remedy for a directory without one; a training's own keeps it one folder further."""
    inner = directory / "tokenizer"
    if (inner / CONFIG_FILE).is_file():
        return f"the tokenizer of this training is in {inner}"
    return "give a directory written by train_tokenizer or convert_tokenizer"
