"""What experiment files share: reading the part of --config after the colon."""


def parse_arg(arg: str, **defaults) -> dict:
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


def is_smallest(size: str) -> bool:
    """Whether the quick-start's size=... asks for a few steps only.

    Raises:
        ValueError: neither "full" nor "smallest".
    """
    if size not in ("full", "smallest"):
        raise ValueError(f"config argument size={size} must be full or smallest")
    return size == "smallest"
