"""The weights of FID's Inception v3, from a file that the user has.

They are what pytorch-fid ships as pt_inception-2015-12-05-6726825d.pth, torch-fidelity as
weights-inception-2015-12-05-6726825d.pth, under the same names:

    Conv2d_1a_3x3.conv.weight             [out, in, height, width]
    Conv2d_1a_3x3.bn.weight, .bn.bias     [out]
    Conv2d_1a_3x3.bn.running_mean, .bn.running_var
    Mixed_5b.branch1x1.conv.weight, ...   94 convolutions in all
    fc.weight                             [1008, 2048]; not needed, but tells them from others

The file may be a torch pickle (read without torch), safetensors or .npz, and hold them under any
entry or prefix.
"""

import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np
from absl import logging

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.measures import inception
from lvm_jax.weight_files import entries, reader
from lvm_jax.weight_files.stored_arrays import Stored

_FILE = Field("inception")
_NEEDS = (
    "it needs FID's Inception v3, such as pytorch-fid's pt_inception-2015-12-05-6726825d.pth or "
    "its arrays as safetensors"
)
# Of normalisation by batches, as TensorFlow had it there.
_EPSILON = 0.001
_NORMS = ("weight", "bias", "running_mean", "running_var")
_NUM_CLASSES = 1008
_CLASSES = "fc.weight"
_AUXILIARY = "AuxLogits.conv0.conv.weight"


def load(file: str | pathlib.Path) -> tuple[inception.Params, str]:
    """Reads the weights.

    Args:
        file: in a form of the module.

    Returns:
        float32 numpy arrays, and a fingerprint of them: the same weights in another container have
        the same.

    Raises:
        ConfigError: an unreadable file, or one of another network; names what differs.
    """
    path = pathlib.Path(file)
    try:
        stored, _ = reader.read(path)
        names = _names(stored)
        _require_own(stored, names)
        arrays = {name: stored[theirs].load() for name, theirs in names.items()}
    except ValueError as error:
        raise ConfigError(_FILE, f": cannot use {path}: {error}") from error
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ConfigError(_FILE, f"={path}: {broken[0]} holds values that are not finite")
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name], "<f4").tobytes())
    params = {name: _fold(arrays, name) for name in inception.kernel_shapes()}
    return params, digest.hexdigest()


def _shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes in the file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (height, width, in_dim, dim) in inception.kernel_shapes().items():
        shapes[f"{name}.conv.weight"] = (dim, in_dim, height, width)
        shapes |= {f"{name}.bn.{part}": (dim,) for part in _NORMS}
    return shapes


def _names(stored: Mapping[str, Stored]) -> dict[str, str]:
    """Our name -> the file's, of what is needed and of what tells networks apart.

    Raises:
        ValueError: an array is missing or has another shape; names the first.
    """
    shapes = _shapes()
    known = {*shapes, _CLASSES, _AUXILIARY}
    places = entries.find(stored, lambda name: name if name in known else None)
    names = dict(places[0].names) if places else {}
    if places and places[0].prefix:
        logging.info("Inception's weights are under %r", places[0].prefix)
    missing = [name for name in shapes if name not in names]
    if missing:
        first = " ".join(configs.first_few(missing, 1))
        beside = "" if names else f", but {entries.outline(stored)}"
        raise ValueError(f"there is no {first} in it{beside}; {_NEEDS}")
    for name, shape in shapes.items():
        if stored[names[name]].shape != shape:
            raise ValueError(f"{name} has shape {stored[names[name]].shape}, not {shape}; {_NEEDS}")
    return names


def _require_own(stored: Mapping[str, Stored], names: dict[str, str]) -> None:
    """Refuses torchvision's weights, whose names and shapes are the same; leaves classes out."""
    classes, auxiliary = names.pop(_CLASSES, None), names.pop(_AUXILIARY, None)
    num_classes = stored[classes].shape[0] if classes else _NUM_CLASSES
    if auxiliary or num_classes != _NUM_CLASSES:
        what = f"{num_classes} classes" if classes else "an auxiliary classifier"
        raise ValueError(
            f"it has {what}: another Inception v3, such as torchvision's, whose distances are not "
            f"FID's; {_NEEDS}"
        )


def _fold(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """A convolution with its normalisation, which is fixed, in one kernel and bias."""
    kernel, scale, bias, mean, variance = (
        np.asarray(arrays[f"{name}.{part}"], np.float64)
        for part in ("conv.weight", *(f"bn.{part}" for part in _NORMS))
    )
    factor = scale / np.sqrt(variance + _EPSILON)
    kernel = kernel.transpose(2, 3, 1, 0) * factor[None, None, None]
    return {
        "kernel": np.ascontiguousarray(kernel, np.float32),
        "bias": (bias - mean * factor).astype(np.float32),
    }
