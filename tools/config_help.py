"""--help_config: every key of a config with its type, its default and one line about it."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import docstrings
from lvm_jax.model import transformer_config
from lvm_jax.sentences.kinds import KINDS
from lvm_jax.sentences.sources import Source
from lvm_jax.tokenizer import vqgan_config

# Sections that may begin with a preset.
PRESETS: dict[Any, Mapping[str, Any]] = {
    transformer_config.TransformerConfig: transformer_config.PRESETS,
    vqgan_config.VQGANConfig: vqgan_config.PRESETS,
}
_NAME = "NAME"  # stands in paths for what a source is called


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """A key of a config, or a line that opens a section.

    Attributes:
        path: from "config" on.
        type: of the value, in words; "" for a section.
        default: as it is written, or "" for a key that must be set.
        about: one line.
    """

    path: str
    type: str = ""
    default: str = ""
    about: str


def text(sections: Mapping[str, type], values: Mapping[str, Any]) -> str:
    """What --help_config prints.

    Args:
        sections: path such as "config" or "config.corpus" -> the dataclass of it.
        values: of the experiment, nested; empty without one.
    """
    lines = [
        "A line for each key: type and default, or that it is required. --KEY=VALUE overrides what",
        f"the experiment says; {_NAME} is what an experiment calls a source.",
    ]
    for key in keys(sections):
        if not key.type:
            lines += ["", f"{key.path}: {key.about}"]
            continue
        default = f" = {key.default}" if key.default else ", required"
        here = _at(values, key.path.split(".")[1:])
        shown = "" if here is None else f" [here {_spelled(here)}]"
        lines.append(f"  {key.path}: {key.type}{default}{shown}  # {key.about}")
    return "\n".join(lines)


def keys(sections: Mapping[str, type]) -> Iterator[Key]:
    """All keys of the sections."""
    with_kinds: list[str] = []
    for path, cls in sections.items():
        yield from _section(cls, path, None, docstrings.about(cls), with_kinds)


def _section(
    cls: Any, path: str, instance: Any, about: str, with_kinds: list[str]
) -> Iterator[Key]:
    """A section and, after its own keys, the sections in it.

    Args:
        cls: of the section.
        path: of it.
        instance: what holds where it is not set; None where the class says so itself.
        about: one line.
        with_kinds: paths at which the kinds of sources were listed; more are added.
    """
    yield Key(path=path, about=about)
    if cls in PRESETS:
        names = ", ".join(PRESETS[cls])
        preset = "a whole section, of which the other keys replace parts"
        yield Key(path=f"{path}.preset", type=names, default="none", about=preset)
    hints, texts, inner = typing.get_type_hints(cls), docstrings.of_fields(cls), []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        name, hint = f"{path}.{field.name}", hints[field.name]
        about = docstrings.first_sentence(texts.get(field.name, ""))
        default = _default(field, instance)
        nested = _dataclass_in(hint)
        if nested is None:
            yield Key(path=name, type=_type(hint), default=_shown(default), about=about)
        else:
            inner.append((hint, nested, name, default, about))
    for hint, nested, name, default, about in inner:
        if "see their classes" in about or not about:
            about = docstrings.about(nested)
        if default is None:
            about += " None leaves it out."
        if nested is Source:
            yield from _sources(name, about, with_kinds)
        elif typing.get_origin(hint) is tuple:
            yield from _section(nested, f"{name}.{_NAME}", None, about, with_kinds)
        else:
            instance = default if isinstance(default, nested) else None
            yield from _section(nested, name, instance, about, with_kinds)


def _sources(path: str, about: str, with_kinds: list[str]) -> Iterator[Key]:
    """The keys that all kinds of sources have, and then, once, those of each kind."""
    source = f"{path}.{_NAME}"
    yield from _section(Source, source, None, about, with_kinds)
    if with_kinds:
        yield Key(path=f"{source}, each kind", about=f"as for {with_kinds[0]}")
        return
    with_kinds.append(source)
    common = {field.name for field in dataclasses.fields(Source)}
    for kind, cls in KINDS.items():
        header = f"{source} of kind={kind}"
        for key in _section(cls, source, None, docstrings.about(cls), with_kinds):
            if not key.type:
                yield dataclasses.replace(key, path=header)
            elif key.path.rpartition(".")[2] not in common:
                yield key


def _dataclass_in(hint: Any) -> Any:
    """The dataclass of a section, of one that may be None, or of a list of them; else None."""
    if dataclasses.is_dataclass(hint):
        return hint
    return next(filter(None, map(_dataclass_in, typing.get_args(hint))), None)


def _default(field: dataclasses.Field, instance: Any) -> Any:
    if instance is not None:
        return getattr(instance, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _shown(default: Any) -> str:
    return "" if default is dataclasses.MISSING else _spelled(default)


def _spelled(value: Any) -> str:
    """A value as --config.key=VALUE takes it."""
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spelled, value))}]"
    return "none" if value is None else str(value)


def _type(hint: Any) -> str:
    """A type in words: `tuple[str, ...] | None` -> "list of str or none"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_type, arguments))
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_type, arguments))}]"
    if hint is types.NoneType:
        return "none"
    return "mapping" if origin is not None else hint.__name__


def _at(values: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return None
        values = values[name]
    return values
