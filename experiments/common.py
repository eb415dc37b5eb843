"""What experiment files share: reading the part of --config after the colon."""

from collections.abc import Collection
from typing import Any


def parse_arg(arg: str, **defaults: Any) -> dict[str, Any]:
    """Parses "size=full,root=runs/x" against the known names and their defaults.

    Args:
        arg: comma-separated name=value pairs; empty for the defaults.
        **defaults: the known names; a value takes the type of its default.

    Returns:
        name -> value for every known name.

    Raises:
        ValueError: an unknown name, a missing "=", or a value of another type.
    """
    values = dict(defaults)
    for part in filter(None, arg.split(",")):
        name, equals, text = part.partition("=")
        if not equals or name not in defaults:
            known = ", ".join(f"{key}={value}" for key, value in defaults.items())
            raise ValueError(f"config argument {part!r} is not known; the known ones: {known}")
        kind = type(defaults[name])
        try:
            values[name] = text.lower() in ("true", "1") if kind is bool else kind(text)
        except ValueError as error:
            raise ValueError(f"config argument {part!r} must be of type {kind.__name__}") from error
    return values


def require_one_of(known: Collection[str], **argument: str) -> str:
    """The value of an argument, given by its name as in `require_one_of(SIZES, size=size)`.

    Raises:
        ValueError: it is none of the known ones, which are listed.
    """
    ((name, value),) = argument.items()
    if value not in known:
        listed = " or ".join(known) if len(known) == 2 else f"one of {', '.join(known)}"
        raise ValueError(f"config argument {name}={value} must be {listed}")
    return value


def is_smallest(size: str) -> bool:
    """Whether the quick-start's size=... asks for a few steps only.

    Raises:
        ValueError: neither "full" nor "smallest".
    """
    return require_one_of(("full", "smallest"), size=size) == "smallest"
