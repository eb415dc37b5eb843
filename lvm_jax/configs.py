"""Mappings -> frozen dataclasses that refuse what they do not know, and back."""

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Field(str):
    """A name in a `ConfigError`: of a config's field, or of a function's argument."""


class ConfigError(ValueError):
    """A value that does not fit, as pieces of text of which some are the names of what holds it.

    Names are as whoever raises it sees them: `Field("context")`, or `Field("model.context")` for a
    field of a field. Whoever holds that config under a name of its own puts this before them
    (`within`), and a program says them as its user wrote them (`spelled`).

    Example: `ConfigError(Field("context"), f"={self.context} must be at least 1")`.
    """

    def __str__(self) -> str:
        return "".join(self.args)

    def spelled(self, spell: Callable[[str], str]) -> str:
        """The message with every name as `spell` gives it."""
        return "".join(spell(part) if isinstance(part, Field) else part for part in self.args)


@contextlib.contextmanager
def within(name: str, **elsewhere: str) -> Iterator[None]:
    """Errors about the fields of a config name them from outside: `context` as `data.context`.

    Args:
        name: of the config.
        **elsewhere: names, as the errors have them, of what whoever holds the config does not keep
            in it -> where it is kept. `within("data", global_batch="batch_size")` is for a function
            of a config and of one more argument.
    """

    def outside(part: str) -> str:
        first, dot, rest = part.partition(".")
        return f"{elsewhere[first]}{dot}{rest}" if first in elsewhere else _path(name, part)

    try:
        yield
    except ConfigError as error:
        error.args = tuple(
            Field(outside(part)) if isinstance(part, Field) else part for part in error.args
        )
        raise


def require_at_least(config: Any, least: float, *names: str) -> None:
    """Refuses smaller numbers in some fields of a dataclass; None is no number and passes.

    Raises:
        ConfigError: names the first such field.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:  # also refuses NaN
            problem = f"must be at least {least}" if least else "must not be negative"
            raise ConfigError(Field(name), f"={value} {problem}")


def build(
    cls: type[T],
    values: Mapping[str, Any],
    name: str = "config",
    builders: Mapping[str, Callable[[Mapping[str, Any], str], Any]] | None = None,
) -> T:
    """Builds a dataclass, nested ones included, from a mapping.

    Args:
        cls: a dataclass whose fields are scalars, tuples, dataclasses or tuples of dataclasses.
        values: field name -> value; lists become tuples. Fields left out keep their defaults, also
            inside a nested dataclass: a mapping replaces the fields that it names.
        name: what error messages call this mapping, such as "config.train"; "" names its fields
            alone.
        builders: field name -> function of (mapping, its name in messages), for fields that may be
            written in another way than their type says, such as with a preset.

    Raises:
        ConfigError: no mapping, an unknown or missing key, a value of another type, or one that the
            dataclass refuses; names the key from `name` on, the value and the nearest known key.
    """
    values = dict(_require_mapping(values, name, cls))
    for key, builder in (builders or {}).items():
        if isinstance(values.get(key), Mapping):
            values[key] = builder(values[key], _path(name, key))
    assert dataclasses.is_dataclass(cls)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            unknown = "unknown key ", Field(_path(name, key)), f"={values[key]!r}; "
            if near:
                raise ConfigError(*unknown, "did you mean ", Field(_path(name, near[0])), "?")
            raise ConfigError(*unknown, f"known: {', '.join(fields)}")
    for key, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and key not in values:
            raise ConfigError(Field(_path(name, key)), " is not set and has no default")
    given = {key: merged(_default(fields[key]), value) for key, value in values.items()}
    fitting = {key: _convert(hints[key], value, _path(name, key)) for key, value in given.items()}
    with within(name):
        return cls(**fitting)


def _path(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def build_stored(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """`build` for what a file holds: no argument mends it, so its fields are plain text.

    Args:
        cls, values: as for `build`.
        where: the file, and the part of it.

    Raises:
        ValueError: as `build`.
    """
    try:
        return build(cls, values, where)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _default(field: dataclasses.Field) -> Any:
    """What a field holds when nothing is said about it; None for one that must be set."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def merged(base: Any, values: Any) -> Any:
    """A mapping laid over a dataclass or another mapping, section by section.

    Args:
        base: what holds where `values` say nothing.
        values: what replaces it; what is no mapping replaces all of it.
    """
    if dataclasses.is_dataclass(base):
        base = to_dict(base)
    if not (isinstance(base, Mapping) and isinstance(values, Mapping)):
        return values
    return {**base, **{key: merged(base.get(key), value) for key, value in values.items()}}


def item_name(name: str, index: int, item: Any) -> str:
    """What messages call an item of a list: by its own name, or else by its place."""
    own = item.get("name") if isinstance(item, Mapping) else getattr(item, "name", None)
    return f"{name}.{own}" if isinstance(own, str) and own else f"{name}[{index}]"


def _convert(hint: Any, value: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, name)
    if origin is typing.Literal:
        if value not in arguments:
            allowed = ", ".join(map(repr, arguments))
            raise ConfigError(Field(name), f"={value!r} must be one of {allowed}")
        return value
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        return build(hint, value, name)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise ConfigError(Field(name), f"={value!r} must be a list, such as [{value!r}]")
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) != len(value):
            raise ConfigError(Field(name), f"={value!r} must have {len(items)} items")
        return tuple(
            _convert(item, v, item_name(name, i, v))
            for i, (item, v) in enumerate(zip(items, value))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise ConfigError(Field(name), f"={value!r} must be of type {hint.__name__}")
    return value


def _require_mapping(values: Any, name: str, cls: type) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigError(Field(name), f"={values!r} must be a mapping of {cls.__name__}'s fields")
    return values


def _convert_union(arguments: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    choices = [argument for argument in arguments if argument is not type(None)]
    errors = []
    for choice in choices:
        try:
            return _convert(choice, value, name)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as a JSON-serialisable nested dict; `build` gives the dataclass back."""
    return {
        field.name: plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.init
    }


def plain(value: Any) -> Any:
    """Dataclasses at any depth of dicts and lists -> JSON-serialisable dicts; see `to_dict`."""
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def with_preset(presets: Mapping[str, T], values: Mapping[str, Any], name: str) -> T:
    """A preset with some fields replaced, at any depth: {"preset": "3b", "remat": "full"}.

    Raises:
        ConfigError: an unknown preset (the known ones are listed), or whatever `build` refuses.
    """
    cls = type(next(iter(presets.values())))
    values = dict(_require_mapping(values, name, cls))
    preset = values.pop("preset", None)
    if preset is None:
        return build(cls, values, name)
    if preset not in presets:
        known = ", ".join(presets)
        raise ConfigError(Field(f"{name}.preset"), f"={preset!r} is unknown; use one of {known}")
    base = presets[preset]
    return build(type(base), merged(base, values), name)


def differences(
    one: Any, other: Any, name: str, free: Sequence[str] = ()
) -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ.

    Args:
        one, other: nested mappings of anything; a missing key counts as None.
        name: of the whole, the beginning of every path.
        free: paths that are not compared.

    Yields:
        (path such as "model.num_layers", the one's value, the other's value).
    """
    if name in free:
        return
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{name}.{key}", free)
    elif one != other:
        yield name, one, other


def value_at(values: Any, path: str) -> Any:
    """values["model"]["num_layers"] for the path "model.num_layers"; None where there is none."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def shorten(value: Any) -> str:
    """A value for a message; a fingerprint says enough with its first digits."""
    text = str(value) or "''"
    return text if len(text) <= 60 else f"{text[:16]}..."


def first_few(lines: Sequence[str], most: int = 5) -> list[str]:
    """The first lines of a message that would be too long, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], *([f"and {more} more"] if more > 0 else [])]
