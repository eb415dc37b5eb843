"""Finds a network in the files of another project, and refuses what is not one."""

import dataclasses
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.conversion.sources import ForeignSource
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.model.weights import formats, llama_fields
from lvm_jax.model.weights.llama_fields import Described
from lvm_jax.vocabulary import Framing
from lvm_jax.weight_files import entries, reader
from lvm_jax.weight_files.entries import Place
from lvm_jax.weight_files.stored_arrays import Stored

_FLOATS = ("float32", "bfloat16", "float16", "float64")
_HALVES = ("bfloat16", "float16")
_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """What is said about a checkpoint beside itself.

    Attributes:
        preset: our name for its sizes; sentences have no BOS and EOS.
        source_config: fields of a config.json, over those that the checkpoint has.
        num_codes: ids that are codes.
        entry: where in the file the network is, if it is there several times.
        dtype: as which its arrays will be written, which is what it computes in; None as they are.
    """

    preset: str | None = None
    source_config: Mapping[str, Any] | None = None
    num_codes: int | None = None
    entry: str | None = None
    dtype: str | None = None


def open_source(path: str, format: str, geometry: Geometry) -> ForeignSource:
    """Looks into a checkpoint of another project, of which it reads no numbers.

    The network is taken wherever its names all are: under entries ("state_dict", "params") and
    prefixes ("module.", "base_model."), beside whatever else was saved. The log says what is left
    out.

    Args:
        path: a file, a folder, or the index of one.
        format: one of `formats.FORMATS`.
        geometry: its sizes, where it does not say them.

    Raises:
        ValueError: the file is damaged, the sizes are unknown or not ours, or an array is missing,
            has another shape or is one too many.
    """
    if format == "easylm":
        path = _easylm_file(path)
    arrays, folder_config = reader.read(path)
    beside = pathlib.Path(path).parent / reader.CONFIG_FILE
    if format == "hf" and folder_config is None and not pathlib.Path(path).is_dir():
        folder_config = reader.read_config(beside)
    described = _described(path, format, geometry, folder_config)
    places = _places(format, described, arrays)
    place = _chosen(path, format, arrays, places, geometry.entry)
    described, rows = _with_rows(path, format, described, arrays, place)
    expected = {
        formats.name_of(format, piece): formats.shape_of(format, piece, rows)
        for piece in formats.pieces(described.config)
    }
    head = formats.FORMATS[format].names[formats.HEAD]
    optional = formats.FORMATS[format].optional
    if described.tied:
        del expected[head]
        optional += (head,)
    elsewhere = {name for other in places for name in other.names.values()}
    if problems := list(_problems(expected, optional, elsewhere, arrays, place)):
        raise ValueError(_told(path, problems, arrays, place, head))
    _log_asides(path, arrays, place, places)
    dtype = geometry.dtype or arrays[place.names[next(iter(expected))]].dtype
    compute = "bfloat16" if dtype in _HALVES else "float32"
    config = dataclasses.replace(described.config, dtype=compute)
    return ForeignSource(
        path=path,
        described=dataclasses.replace(described, config=config),
        format=format,
        names=place.names,
        arrays=arrays,
        rows=min(rows, config.vocabulary.size),
    )


def _easylm_file(path: str) -> str:
    """The file of a folder that EasyLM saved into: parameters alone, if they are there."""
    folder = pathlib.Path(path)
    if not folder.is_dir():
        return path
    for name in ("streaming_params", "streaming_train_state"):
        files = sorted(file for file in folder.glob(f"{name}*") if file.suffix != ".json")
        if len(files) > 1:
            raise ValueError(f"{path} holds {files[0].name} and {files[1].name}; name the file")
        if files:
            return str(files[0])
    raise ValueError(f"{path} holds no streaming_params; name EasyLM's file")


def _described(
    path: str, format: str, geometry: Geometry, folder_config: Mapping[str, Any] | None
) -> Described:
    """Sizes and framing by what is said of them: a preset, a given config, the folder's own."""
    if geometry.preset is not None:
        if geometry.source_config is not None:
            both = Field("preset"), f"={geometry.preset!r} or ", Field("source_config")
            raise ConfigError("give either ", *both, ", not both")
        if geometry.preset not in PRESETS:
            known = ", ".join(PRESETS)
            raise ConfigError(Field("preset"), f"={geometry.preset!r} is unknown: one of {known}")
        if folder_config is not None:
            logging.info("%s: not read, for --preset is given", reader.CONFIG_FILE)
        config = PRESETS[geometry.preset]
        if geometry.num_codes is not None:
            vocabulary = dataclasses.replace(config.vocabulary, num_codes=geometry.num_codes)
            config = dataclasses.replace(config, vocabulary=vocabulary)
        return Described(config=config, framing=Framing(bos=False, eos=False))
    if geometry.source_config is not None:
        llama_fields.refuse_misspelled(geometry.source_config, "--source_config")
    elif folder_config is None:
        has = "an EasyLM file has no config" if format == "easylm" else "it has no config.json"
        raise ConfigError(
            f"{path}: {has}, so its sizes are unknown; give ",
            *(Field("preset"), "=NAME (", ", ".join(PRESETS), ") or ", Field("source_config")),
        )
    fields = {**(folder_config or {}), **(geometry.source_config or {})}
    where = "--source_config" if folder_config is None else f"{path}: {reader.CONFIG_FILE}"
    return llama_fields.read(fields, where, geometry.num_codes)


def _places(format: str, described: Described, arrays: Mapping[str, Stored]) -> list[Place]:
    """Where names of the network are, an optimizer's included; the fullest first."""
    names = [formats.name_of(format, piece) for piece in formats.pieces(described.config)]
    # What has no head is called without the module around it.
    bare = {name: name.removeprefix("model.") for name in names} if format == "hf" else {}
    return entries.find(arrays, entries.spellings(names, bare).get)


def _chosen(
    path: str,
    format: str,
    arrays: Mapping[str, Stored],
    places: Sequence[Place],
    entry: str | None,
) -> Place:
    """Where most of the network's names are, and of such places the preferred."""
    if entry is not None:
        places = [place for place in places if place.entry == entry.strip("./")]
    else:
        places = [place for place in places if not place.holds_moments]
    if not places:
        under = () if entry is None else (" under ", Field("entry"), f"={entry}")
        holds = " ".join(entries.outline(arrays).split())
        raise ConfigError(
            f"{path} has no name of ",
            *(Field("from"), f"={format}", *under, f"; it holds {holds}"),
        )
    whole = [place for place in places if len(place.names) == len(places[0].names)]
    return min(whole, key=Place.rank)


def _with_rows(
    path: str, format: str, described: Described, arrays: Mapping[str, Stored], place: Place
) -> tuple[Described, int]:
    """The model with the vocabulary that its table has, and the rows of that."""
    name = place.names.get(formats.FORMATS[format].names[formats.EMBEDDING])
    config = described.config
    if name is None or len(arrays[name].shape) != 2:
        return described, config.vocabulary.size
    rows = arrays[name].shape[0]
    vocabulary = llama_fields.fitting_vocabulary(config.vocabulary, rows, f"{path}: {name}")
    config = dataclasses.replace(config, vocabulary=vocabulary)
    return dataclasses.replace(described, config=config), rows


def _problems(
    expected: Mapping[str, tuple[int, ...]],
    optional: tuple[str, ...],
    elsewhere: Collection[str],
    arrays: Mapping[str, Stored],
    place: Place,
) -> Iterator[str]:
    """Every way in which a place differs from a network."""
    for name, shape in expected.items():
        if name not in place.names:
            yield f"{name} is missing"
            continue
        stored = arrays[place.names[name]]
        if stored.shape != shape:
            yield f"{place.names[name]} has shape {stored.shape}, not {shape}"
        elif stored.dtype not in _FLOATS:
            yield f"{place.names[name]} is {stored.dtype}, not one of {', '.join(_FLOATS)}"
    read = {place.names[name] for name in expected if name in place.names}
    # A module that was pickled whole keeps its buffers under entries.
    ends = tuple(map(entries.dotted, optional))
    for name in arrays:
        inside = name.startswith(place.prefix) and name not in read and name not in elsewhere
        if inside and not entries.dotted(name).endswith(ends):
            yield f"{name} is unexpected"


def _told(
    path: str,
    problems: Sequence[str],
    arrays: Mapping[str, Stored],
    place: Place,
    head: str,
) -> str:
    """One line about what does not fit, with what may help."""
    told = "; ".join(configs.first_few(problems, _MOST_NAMED))
    text = f"{path} is not the network that its config says: {told}"
    if any(".lora_" in name for name in arrays):
        text += "; it holds adapters (LoRA): merge them into the weights first"
    elif f"{head} is missing" in problems:
        text += "; if the embedding is its head, say tie_word_embeddings=true in its config"
    elif place.prefix:
        text += f" (under {place.prefix!r})"
    return " ".join(text.split())


def _log_asides(
    path: str, arrays: Mapping[str, Stored], place: Place, places: Sequence[Place]
) -> None:
    """Says where the network was, what is left out, and where else it would be."""
    used = set(place.names.values())
    if place.prefix:
        logging.info("%s: read under %r", path, place.prefix)
    if unused := [name for name in arrays if name not in used]:
        logging.info("%s: %d arrays are not used: %s", path, len(unused), entries.outline(unused))
    others = [
        other.entry or "/"
        for other in places
        if len(other.names) == len(place.names) and used.isdisjoint(other.names.values())
    ]
    if others:
        logging.info("%s: found under --entry=%s, too", path, " or ".join(others))
