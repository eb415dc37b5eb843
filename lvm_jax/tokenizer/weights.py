"""VQGAN weights of other projects <-> our parameters, exactly.

The formats are those of `weight_names.FORMATS`: openMUSE, taming-transformers, LlamaGen, MaskGIT,
the first LVM demo's "xh" checkpoint, and diffusers' VQModel. Reading needs neither torch nor the
project that wrote the file.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import atomic, trees
from lvm_jax.tokenizer import codec, weight_configs, weight_files, weight_names
from lvm_jax.tokenizer.config import PRESETS, VQGANConfig
from lvm_jax.tokenizer.vqgan import Params

FORMATS = weight_names.FORMATS

# The geometries that each format was published in, the usual one first.
FORMAT_PRESETS = {
    "openmuse": ("openmuse_f16_8192",),
    "taming": ("taming_f16_1024", "taming_f16_16384"),
    "llamagen": ("llamagen_f16_16384",),
    "maskgit": ("maskgit_f16_1024",),
    "lvm_xh": ("lvm_xh_f16_8192",),
    "diffusers": ("openmuse_f16_8192",),
}
# What the formats that can be written call their weights file.
EXPORT_FILES = {
    "openmuse": "model.safetensors",
    "diffusers": "diffusion_pytorch_model.safetensors",
}
# Parts of a checkpoint that are no part of the network: losses with their discriminators, and a
# record of which codes were used lately.
_DROPPED = ("loss.", "quantize.codebook_used")


def read_weights(
    path: str | pathlib.Path,
    format: str,
    *,
    source_config: Mapping[str, Any] | None = None,
    preset: str | None = None,
) -> tuple[VQGANConfig, Params]:
    """Reads another project's VQGAN.

    Args:
        path: weights as their owner writes them, or a folder with config.json and weights.
        format: one of `FORMATS`.
        source_config: the geometry in the owner's field names; overrides a folder's config.json
            field by field.
        preset: the geometry by our name for it. Without this, without `source_config` and without
            a config.json, the published geometries of the format are tried.

    Returns:
        The geometry and the parameters as `vqgan.init_params` would give them, float32.

    Raises:
        ValueError: the file is missing, damaged, holds values that are not finite, or does not fit
            the geometry; says how, and what would fit.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; use one of {', '.join(FORMATS)}")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown; use one of {', '.join(PRESETS)}")
    if preset is not None and source_config is not None:
        raise ValueError(f"give either preset={preset!r} or a source config, not both")
    arrays, found_config = weight_files.read(path)
    arrays = {name: array for name, array in arrays.items() if not name.startswith(_DROPPED)}
    if preset is not None:
        candidates = {preset: PRESETS[preset]}
    elif source_config is not None or found_config is not None:
        fields = {**(found_config or {}), **(source_config or {})}
        candidates = {"the given geometry": weight_configs.from_source(format, fields)}
    else:
        candidates = {name: PRESETS[name] for name in FORMAT_PRESETS[format]}
    for label, config in candidates.items():
        if not _differences(format, config, arrays):
            params = _convert(path, format, config, arrays)
            logging.info("%s holds %s", path, label)
            return config, params
    raise ValueError(_misfit(path, format, candidates, arrays))


def to_format(
    format: str, config: VQGANConfig, params: Params
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Our parameters in the naming and layout of "openmuse" or "diffusers".

    Returns:
        The fields of the owner's config.json, and {flat name: array}.

    Raises:
        ValueError: the format has no such network.
    """
    fields = weight_configs.to_source(format, config)
    flat = trees.flatten(params)
    names = weight_names.source_names(format, config)
    return fields, {
        names[name]: weight_names.to_source(format, name, np.asarray(leaf))
        for name, leaf in flat.items()
    }


def write_weights(
    directory: str | pathlib.Path, format: str, config: VQGANConfig, params: Params
) -> None:
    """Writes config.json and safetensors, as `read_weights` and the format's owner read them.

    Raises:
        ValueError: the format has no such network, or the directory cannot be written.
    """
    directory = pathlib.Path(directory)
    fields, arrays = to_format(format, config, params)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        trees.save_safetensors(directory / EXPORT_FILES[format], arrays, metadata={"format": "pt"})
        atomic.write_json(directory / weight_files.CONFIG_FILE, fields)
    except OSError as error:
        raise ValueError(
            f"cannot write {directory}: {error.strerror or error}; free space or choose another "
            "place"
        ) from error


def _convert(
    path: str | pathlib.Path, format: str, config: VQGANConfig, arrays: Mapping[str, np.ndarray]
) -> Params:
    dtypes = sorted({str(array.dtype) for array in arrays.values()} - {"float32"})
    if dtypes:
        logging.info("%s: %s becomes float32", path, ", ".join(dtypes))
    flat = {}
    for ours, theirs in weight_names.source_names(format, config).items():
        array = arrays[theirs].astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"{path} holds values that are not finite, first in {theirs}")
        flat[ours] = weight_names.to_ours(format, ours, array)
    params = trees.unflatten(flat)
    codec.check_params(config, params, f"weights of {path}")
    return params


def _differences(
    format: str, config: VQGANConfig, arrays: Mapping[str, np.ndarray], most: int = 3
) -> list[str]:
    """The first few ways in which a file differs from a geometry, in the owner's names."""
    if format not in _formats_of(config):
        return [f"{format} has no network of this geometry"]
    expected = weight_names.source_shapes(format, config)
    lines = []
    for name in sorted(expected.keys() | arrays.keys()):
        if name not in arrays:
            lines.append(f"{name} is missing")
        elif name not in expected:
            lines.append(f"{name} is unexpected")
        elif arrays[name].shape != expected[name]:
            lines.append(f"{name} has shape {arrays[name].shape}, not {expected[name]}")
        elif np.issubdtype(arrays[name].dtype, np.integer) or arrays[name].dtype == bool:
            lines.append(f"{name} is {arrays[name].dtype}, not a float")
    more = len(lines) - most
    return lines[:most] + ([f"and {more} more"] if more > 0 else [])


def _formats_of(config: VQGANConfig) -> tuple[str, ...]:
    """The formats whose names can express a geometry."""
    if config.patch_size > 1 or config.num_mid_blocks < 1:
        return ()
    if config.quant_convs:
        return ("openmuse", "taming", "llamagen", "diffusers")
    return ("lvm_xh",) if config.upsample == "depth_to_space" else ("maskgit",)


def _misfit(
    path: str | pathlib.Path,
    format: str,
    candidates: Mapping[str, VQGANConfig],
    arrays: Mapping[str, np.ndarray],
) -> str:
    # Of several candidates, the one that differs least says most.
    label, lines = min(
        ((label, _differences(format, config, arrays)) for label, config in candidates.items()),
        key=lambda item: len(item[1]),
    )
    text = f"{path} does not fit --format={format} ({label}): {'; '.join(lines)}"
    for other in sorted(FORMATS, key=lambda name: name != format):
        for name in FORMAT_PRESETS[other]:
            config = PRESETS[name]
            # The codebook first: laying out a whole network takes a second.
            codebook = arrays.get(weight_names.codebook_name(other))
            if codebook is None or codebook.shape != (config.num_codes, config.code_dim):
                continue
            if not _differences(other, config, arrays):
                return f"{text}; it fits --format={other} --preset={name}"
    return f"{text}; give its geometry with --source_config, or the format that it is in"
