"""VQGAN weights of other projects <-> our parameters, exactly.

The formats are those of `weight_names.FORMATS`: openMUSE, taming-transformers, LlamaGen, MaskGIT,
the first LVM demo's "xh" checkpoint, and diffusers' VQModel. Reading needs neither torch nor the
project that wrote the file.
"""

import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import atomic, configs, trees
from lvm_jax.configs import ConfigError, Field
from lvm_jax.tokenizer import codec, weight_configs, weight_names
from lvm_jax.tokenizer.vqgan import Params
from lvm_jax.tokenizer.vqgan_config import PRESETS, VQGANConfig
from lvm_jax.weight_files import entries, reader, torch_files
from lvm_jax.weight_files.entries import Place
from lvm_jax.weight_files.stored_arrays import Stored

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
# What the formats that can be written call their weights files.
EXPORT_FILES = {
    # The second is what open-muse's from_pretrained looks for.
    "openmuse": ("model.safetensors", "pytorch_model.bin"),
    "diffusers": ("diffusion_pytorch_model.safetensors",),
}
# What quantizers keep about their codes beside them, which changes nothing in use.
_RECORDS = ("codebook_used", "cluster_size", "embed_avg", "ema_cluster_size", "ema_w", "initted")
# A message about what does not fit looks into the fullest places only.
_MOST_PLACES = 4


def read_weights(
    path: str | pathlib.Path,
    format: str,
    *,
    source_config: Mapping[str, Any] | None = None,
    preset: str | None = None,
    entry: str | None = None,
) -> tuple[VQGANConfig, Params]:
    """Reads another project's VQGAN.

    Args:
        path: weights as their owner writes them, or a folder with config.json and weights.
        format: one of `FORMATS`.
        source_config: the geometry in the owner's field names; overrides a folder's config.json
            field by field.
        preset: the geometry by our name for it. Without this, without `source_config` and without
            a config.json, the published geometries of the format are tried.
        entry: the place in the file to read, such as "ema" or "state_dict.first_stage_model". By
            default wherever the network's names all are: where they are several times, running
            averages are preferred, then what is nearest to the top. The log says which it is and
            what is left out.

    Returns:
        The geometry and the parameters as `vqgan.init_params` would give them, float32.

    Raises:
        ValueError: the file is missing, damaged, holds values that are not finite, or does not fit
            the geometry; says how, and what would fit.
    """
    if format not in FORMATS:
        known = ", ".join(FORMATS)
        raise ConfigError(Field("format"), f"={format!r} is unknown; use one of {known}")
    if preset is not None and preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError(Field("preset"), f"={preset!r} is unknown; use one of {known}")
    if preset is not None and source_config is not None:
        both = Field("preset"), f"={preset!r} or ", Field("source_config")
        raise ConfigError("give either ", *both, ", not both")
    stored, folder_config = reader.read(path)
    if preset is not None:
        candidates = {preset: PRESETS[preset]}
    elif source_config is not None or folder_config is not None:
        fields = {**(folder_config or {}), **(source_config or {})}
        candidates = {"the given geometry": weight_configs.from_source(format, fields)}
    else:
        candidates = {name: PRESETS[name] for name in FORMAT_PRESETS[format]}
    for label, config in candidates.items():
        places = _fitting(format, config, stored, entry)
        if places:
            params = _convert(path, format, config, stored, places[0])
            logging.info("%s holds %s%s", path, label, _asides(stored, *places))
            return config, params
    raise _misfit(path, format, candidates, stored, entry)


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
    """Writes config.json and weights, as `read_weights` and the format's owner read them.

    Raises:
        ValueError: the format has no such network, or the directory cannot be written.
    """
    directory = pathlib.Path(directory)
    fields, arrays = to_format(format, config, params)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in EXPORT_FILES[format]:
            if name.endswith(".safetensors"):
                trees.save_safetensors(directory / name, arrays, metadata={"format": "pt"})
            else:
                torch_files.write_zip(directory / name, arrays)
        atomic.write_json(directory / reader.CONFIG_FILE, fields)
    except OSError as error:
        raise ValueError(
            f"cannot write {directory}: {error.strerror or error}; free space or choose another "
            "place"
        ) from error


def _places(
    format: str, config: VQGANConfig, stored: Mapping[str, Stored], entry: str | None
) -> list[Place]:
    """Where the names of a geometry are, the fullest place first; in one entry if it is given."""
    names = weight_names.source_names(format, config).values()
    spellings = entries.spellings(names, weight_names.older_names(format, config))
    places = entries.find(stored, spellings.get)
    if entry is not None:
        return [place for place in places if place.entry == entry.strip("./")]
    return [place for place in places if not place.holds_moments]


def _fitting(
    format: str, config: VQGANConfig, stored: Mapping[str, Stored], entry: str | None
) -> list[Place]:
    """Where a whole network of a geometry is, the preferred place first."""
    return sorted(
        (
            place
            for place in _places(format, config, stored, entry)
            if not _differences(format, config, stored, place)
        ),
        key=Place.rank,
    )


def _asides(stored: Mapping[str, Stored], place: Place, *others: Place) -> str:
    """What to say beside the geometry: where it is, what is left out, where else it would be."""
    text = f" under {place.prefix!r}" if place.prefix else ""
    used = set(place.names.values())
    unused = [name for name in stored if name not in used]
    if unused:
        text += f"; {len(unused)} arrays are not used: {entries.outline(unused)}"
    if others:
        elsewhere = ", ".join(f"entry={other.entry or '/'}" for other in others)
        text += f"; it is found elsewhere, too, choose with {elsewhere}"
    return text


def _convert(
    path: str | pathlib.Path,
    format: str,
    config: VQGANConfig,
    stored: Mapping[str, Stored],
    place: Place,
) -> Params:
    dtypes = sorted({stored[name].dtype for name in place.names.values()} - {"float32"})
    if dtypes:
        logging.info("%s: %s becomes float32", path, ", ".join(dtypes))
    shapes = weight_names.source_shapes(format, config)
    flat = {}
    for ours, theirs in weight_names.source_names(format, config).items():
        name = place.names[theirs]
        array = stored[name].load().astype(np.float32).reshape(shapes[theirs])
        if not np.isfinite(array).all():
            raise ValueError(f"{path} holds values that are not finite, first in {name}")
        flat[ours] = weight_names.to_ours(format, ours, array)
    params = trees.unflatten(flat)
    codec.check_params(config, params, f"weights of {path}")
    return params


def _differences(
    format: str, config: VQGANConfig, stored: Mapping[str, Stored], place: Place, most: int = 3
) -> list[str]:
    """The first few ways in which a place differs from a geometry, in the owner's names."""
    if format not in _formats_of(config):
        return [f"{format} has no network of this geometry"]
    expected = weight_names.source_shapes(format, config)
    lines = [f"{name} is missing" for name in expected.keys() - place.names.keys()]
    lines += [f"{name} is unexpected" for name in _unexpected(expected, stored, place)]
    for theirs, name in place.names.items():
        array = stored[name]
        if _matrix(array.shape) != _matrix(expected[theirs]):
            lines.append(f"{theirs} has shape {array.shape}, not {expected[theirs]}")
        elif "float" not in array.dtype:
            lines.append(f"{theirs} is {array.dtype}, not a float")
    lines.sort()
    return configs.first_few(lines, most)


def _matrix(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without what a kernel of one pixel has more than a matrix."""
    return shape[:2] if len(shape) > 2 and set(shape[2:]) == {1} else shape


def _unexpected(
    expected: Iterable[str], stored: Mapping[str, Stored], place: Place
) -> Iterator[str]:
    """Names in the network's own modules that it does not have: it would be another network."""
    modules = {entries.dotted(name).split(".")[0] for name in expected}
    used = set(place.names.values())
    for name in stored:
        own = None if name in used else entries.own_name(place.prefix, name)
        if own is None or own.rsplit(".", 1)[-1] in _RECORDS:
            continue
        if own.split(".")[0] in modules or ("." not in own and own.startswith(tuple(modules))):
            yield name[len(place.prefix) :]


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
    stored: Mapping[str, Stored],
    entry: str | None,
) -> ConfigError:
    """The error that says how a file differs from what was asked for, and what it is instead."""
    # Of several candidates and places, the one that differs least says most.
    misfits = [
        (_differences(format, config, stored, place), label, place)
        for label, config in candidates.items()
        for place in _places(format, config, stored, entry)[:_MOST_PLACES]
    ]
    holds = f"; it holds {_one_line(entries.outline(stored))}"
    if not misfits:
        under = () if entry is None else (" under ", Field("entry"), f"={entry}")
        problem = (f"{path} has no name of ", Field("format"), f"={format}", *under, holds)
    else:
        lines, label, place = min(misfits, key=lambda misfit: len(misfit[0]))
        under = f" under {place.prefix!r}" if place.prefix else ""
        how = _one_line(f" ({label}){under}: {'; '.join(lines)}")
        if not under and len(misfits) <= len(candidates):
            holds = ""  # the names are at the top and nowhere else
        problem = (f"{path} does not fit ", Field("format"), f"={format}{how}", holds)
    return ConfigError(*problem, *_remedy(format, stored, entry))


def _remedy(format: str, stored: Mapping[str, Stored], entry: str | None) -> tuple[str, ...]:
    for other in sorted(FORMATS, key=lambda name: name != format):
        for name in FORMAT_PRESETS[other]:
            config = PRESETS[name]
            if _may_fit(other, config, stored) and _fitting(other, config, stored, entry):
                return "; it fits ", Field("format"), f"={other} ", Field("preset"), f"={name}"
    return "; give its geometry with ", Field("source_config"), ", or the format that it is in"


def _one_line(text: str) -> str:
    """A file may call its arrays anything; a message stays one line."""
    return " ".join(text.splitlines())


def _may_fit(format: str, config: VQGANConfig, stored: Mapping[str, Stored]) -> bool:
    """Whether there is such a codebook: laying out a whole network takes a second."""
    codebook = entries.dotted(weight_names.codebook_name(format))
    shape = (config.num_codes, config.code_dim)
    return any(
        array.shape == shape and entries.dotted(name).endswith(codebook)
        for name, array in stored.items()
    )
