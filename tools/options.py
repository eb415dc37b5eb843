"""Command lines -> frozen dataclasses: a flag for each field, explained by the class's docstring.

A tool has one mode or several. A mode is a function of one dataclass, whose fields are the flags
that it reads: those without default it needs, and others that are given are refused.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from absl import flags

import docstrings

FLAGS = flags.FLAGS
Main = Callable[[Any], None]
_ON_STORE = "may be on an object store"
Place = Annotated[str, _ON_STORE]
"""Type of a flag that takes a directory on a disk, gs://BUCKET/... or s3://BUCKET/...; others take
paths of disks alone."""
_DEFINE: dict[Any, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
}

# Flags count as the tool's own.
flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mode:
    """One thing that a tool does.

    Attributes:
        when: what asks for it: "--flag", "--flag=value" or "argument=value"; any other text is what
            messages call the mode that is taken when nothing asks for another.
        run: does it, given an instance of `options`.
        options: the dataclass.
    """

    when: str
    run: Main
    options: type[Any]

    @property
    def fields(self) -> dict[str, dataclasses.Field]:
        """The fields of its options by name."""
        return {field.name: field for field in dataclasses.fields(self.options)}

    @property
    def flag(self) -> str:
        """What decides whether the mode is asked for; "" for the mode that is taken otherwise."""
        name, equals, _ = self.when.removeprefix("--").partition("=")
        return name if equals or self.when.startswith("--") else ""

    @property
    def value(self) -> str:
        """The value of `flag` that asks for the mode; "" for any that is not false."""
        return self.when.partition("=")[2]

    def __str__(self) -> str:
        return self.when if self.when.startswith("--") else self.when.replace("=", " ")

    def is_asked_for(self, given: Mapping[str, Any]) -> bool:
        """Whether these flags ask for it."""
        if self.value:
            return given.get(self.flag) == self.value
        return bool(self.flag) and given.get(self.flag) not in (None, False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag of a tool.

    Attributes:
        name: without dashes.
        hint: type of its field.
        default: of the field; None where modes do not agree.
        about: one line for --help.
        takes_store: whether its type is `Place`.
    """

    name: str
    hint: Any
    default: Any
    about: str
    takes_store: bool = False

    @property
    def choices(self) -> str:
        """What --help says in front: "<one|other>: " where only some values are allowed."""
        is_enum = typing.get_origin(self.hint) is Literal
        return f"<{'|'.join(typing.get_args(self.hint))}>: " if is_enum else ""


def modes_of(main: Main | Mapping[str, Main]) -> list[Mode]:
    """The modes of a tool, from its only function or from what asks for each of several."""
    runs = main if isinstance(main, Mapping) else {"": main}
    return [Mode(when=when, run=run, options=_options_of(run)) for when, run in runs.items()]


def _options_of(run: Main) -> type[Any]:
    (options,) = (hint for name, hint in typing.get_type_hints(run).items() if name != "return")
    return options


def flags_of(modes: Sequence[Mode]) -> dict[str, Flag]:
    """The flags of all modes by name, those that a mode needs first."""
    readers: dict[str, list[Mode]] = {}
    for mode in modes:
        has_default = lambda field: field.default is not dataclasses.MISSING
        for field in sorted(mode.fields.values(), key=has_default):
            readers.setdefault(field.name, []).append(mode)
    return {name: _flag(name, each, modes) for name, each in readers.items()}


def _flag(name: str, readers: Sequence[Mode], modes: Sequence[Mode]) -> Flag:
    options = readers[0].options
    about = docstrings.of_fields(options).get(name, "")
    of_few = 2 * len(readers) <= len(modes) and all(mode.flag for mode in readers)
    if of_few and name not in {mode.flag for mode in readers}:
        about = f"{', '.join(mode.value or mode.flag for mode in readers)}: {about}"
    defaults = [mode.fields[name].default for mode in readers]
    known = all(default == defaults[0] for default in defaults)
    return Flag(
        name=name,
        hint=given_hint(typing.get_type_hints(options)[name]),
        default=defaults[0] if known and defaults[0] is not dataclasses.MISSING else None,
        about=about,
        takes_store=_takes_store(typing.get_type_hints(options, include_extras=True)[name]),
    )


def _takes_store(hint: Any) -> bool:
    inner = typing.get_args(hint)
    return _ON_STORE in getattr(hint, "__metadata__", ()) or any(map(_takes_store, inner))


def given_hint(hint: Any) -> Any:
    """The type of a value that is given: `int | None` -> `int`."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
    return hint


def define(flag: Flag, takes_words: bool) -> None:
    """Defines a flag for absl. What is not given is None: defaults are those of the fields.

    Args:
        flag: which.
        takes_words: plain arguments may follow its value, as in --images a.png b.png.
    """
    if typing.get_origin(flag.hint) is Literal:
        flags.DEFINE_enum(flag.name, None, typing.get_args(flag.hint), flag.about)
    elif typing.get_origin(flag.hint) is tuple and not takes_words:
        flags.DEFINE_list(flag.name, None, flag.about)
    else:
        _DEFINE.get(flag.hint, flags.DEFINE_string)(flag.name, None, flag.about)


def given_flags(names: Iterable[str]) -> dict[str, Any]:
    """Name -> value of those flags that the command line gives."""
    values = {name: FLAGS[name].value for name in names}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def choose(modes: Sequence[Mode], given: Mapping[str, Any]) -> Mode:
    """The mode that a command line asks for.

    Raises:
        ValueError: it asks for none; says what would.
    """
    asked = [mode for mode in modes if mode.is_asked_for(given)]
    chosen = asked or [mode for mode in modes if not mode.flag]
    if chosen:
        return chosen[0]
    names = {mode.flag for mode in modes}
    if len(names) > 1:
        raise ValueError(f"give either {' or '.join(map(str, modes))}")
    name = names.pop()
    if name not in given:
        raise ValueError(f"--{name} is required")
    known = ", ".join(mode.value for mode in modes)
    raise ValueError(f"unknown {name} {given[name]!r}; use one of {known}")


def build(mode: Mode, given: Mapping[str, Any], needed: Iterable[str] | None = None) -> Any:
    """The dataclass of a mode.

    Args:
        mode: which.
        given: name -> value of the flags that are given.
        needed: the flags without which it makes no sense, None for those without a default; any
            other is None if it has no default.

    Raises:
        ValueError: a flag is missing, or one is given that the mode does not read; dropped without
            a word it would be taken for obeyed.
    """
    for name in given:
        if name not in mode.fields:
            raise ValueError(f"{mode} does not read --{name}; drop one of them")
    values = dict(given)
    for name, field in mode.fields.items():
        if name in given or field.default is not dataclasses.MISSING:
            continue
        if needed is None or name in needed:
            raise ValueError(f"{mode} needs --{name}" if mode.flag else f"--{name} is required")
        values[name] = None
    return mode.options(**values)
