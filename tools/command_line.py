"""The words of a command line -> what is to run, and the options of it."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

import options
from experiment_files import ExperimentFile, load_experiment, refuse_url
from lvm_jax import commands
from options import Flag, Mode

FLAGS = flags.FLAGS
CONFIG = "config"
_ABOUT_CONFIG = (
    "experiment: FILE.py or FILE.py:ARG. Any of its values is overridden by "
    "--config.section.key=value."
)
_OF_CONFIG = {
    "print_config": "prints the whole resolved config as JSON, defaults included, and does nothing "
    "else; needs no other flag than --config.",
    "help_config": "lists all keys of a config with type and default, and with --config the "
    "experiment's value; needs no other flag.",
}

_PRINTING = Mode(when="", run=lambda text: print(commands.spelled(text)), options=str)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandLine:
    """What a tool can be told.

    Attributes:
        modes: what it does.
        arguments: field -> what messages call the plain argument that it takes.
        words: field that takes any number of plain arguments, after its flag unless it is one of
            `arguments`; or "".
        aliases: other name -> flag.
        keys: gives the sections of a config and their dataclasses; None without --config.
    """

    modes: Sequence[Mode]
    arguments: Mapping[str, str]
    words: str
    aliases: Mapping[str, str]
    keys: Callable[[], Mapping[str, type]] | None

    def flags(self) -> dict[str, Flag]:
        """All flags by name; plain arguments are none."""
        fields = options.flags_of(self.modes)
        named = {name: flag for name, flag in fields.items() if name not in self.arguments}
        if CONFIG in named:
            named[CONFIG] = dataclasses.replace(named[CONFIG], about=_ABOUT_CONFIG)
            for name, about in _OF_CONFIG.items():
                named[name] = Flag(name=name, hint=bool, default=None, about=about)
        return named


def define(line: CommandLine) -> None:
    """Defines the flags of a tool for absl."""
    for name, flag in line.flags().items():
        options.define(flag, takes_words=name == line.words)
    for name, flag in line.aliases.items():
        flags.DEFINE_alias(name, flag)


def parse(line: CommandLine, argv: Sequence[str]) -> tuple[Mode, Any]:
    """What a command line asks for, and the options of it; for help a mode that prints a text.

    Raises:
        flags.Error: an unknown flag, or a value of another type.
        ValueError: flags or plain arguments that are missing, too many, or no paths.
    """
    if any(word in ("--help", "-help", "-h", "--helpshort") for word in argv[1:]):
        FLAGS(argv[:1])  # which absl asks for
        return _PRINTING, _help(line)
    kept, overrides = _take_overrides(argv, takes_config=CONFIG in line.flags())
    rest = FLAGS(kept)[1:]
    given = options.given_flags(line.flags())
    _refuse_urls(line, given, rest)
    if overrides and CONFIG not in given:
        key, value = overrides[0]
        raise ValueError(
            f"--config.{key}={value} overrides an experiment, but there is no --config=FILE"
        )
    if given.pop("help_config", False) and line.keys is not None:
        return _PRINTING, _help_config(line.keys(), given.get(CONFIG), overrides)
    given |= _plain_arguments(line, given, rest)
    only_print = given.pop("print_config", False)
    mode = _printing_mode(line, given) if only_print else options.choose(line.modes, given)
    if CONFIG in given:
        given[CONFIG] = ExperimentFile(
            name=given[CONFIG], overrides=overrides, only_print=only_print
        )
    return mode, options.build(mode, given, {CONFIG} if only_print else None)


def _printing_mode(line: CommandLine, given: Mapping[str, Any]) -> Mode:
    """Whose config is printed; a mode need not be asked for.

    Raises:
        ValueError: one is, and has no config.
    """
    asked = [mode for mode in line.modes if mode.is_asked_for(given)]
    having = [mode for mode in line.modes if CONFIG in mode.fields]
    mode = (asked or [mode for mode in having if not mode.flag] or having)[0]
    if CONFIG not in mode.fields:
        raise ValueError(f"{mode} does not read --print_config; drop one of them")
    return mode


def _plain_arguments(
    line: CommandLine, given: Mapping[str, Any], rest: Sequence[str]
) -> dict[str, Any]:
    """Field -> value of what has no flag before it."""
    if line.words in line.arguments:
        if not rest:
            raise ValueError(f"expects {line.arguments[line.words]}, got nothing")
        return {line.words: tuple(rest)}
    if line.words:
        if line.words in given:
            return {line.words: (given[line.words], *rest)}
        if rest:
            raise ValueError(f"unexpected argument {rest[0]}: several follow only --{line.words}")
        return {}
    if len(rest) != len(line.arguments):
        names = " ".join(line.arguments.values())
        usage = f"expects {names}" if names else "takes no plain arguments"
        raise ValueError(f"{usage}, got {' '.join(rest) or 'nothing'}")
    return dict(zip(line.arguments, rest))


def _refuse_urls(line: CommandLine, given: Mapping[str, Any], rest: Sequence[str]) -> None:
    known = options.flags_of(line.modes)
    takes_store = lambda name: name in known and known[name].takes_store
    for name, value in given.items():
        for word in value if isinstance(value, tuple) else (value,):
            refuse_url(f"--{name}", word, takes_store(name))
    for index, word in enumerate(rest):
        name = line.words or (*line.arguments, *[""] * len(rest))[index]
        refuse_url("", word, takes_store(name))


def _take_overrides(
    argv: Sequence[str], takes_config: bool
) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Moves --config.key=value (or --config.key value) out of the flags."""
    kept, overrides, words = [], [], iter(argv)
    for word in words:
        name = word.lstrip("-")
        if not (word.startswith("-") and name.startswith("config.")):
            kept.append(word)
            continue
        if not takes_config:
            raise flags.Error(f"{word}: this tool takes no --config")
        key, equals, value = name.removeprefix("config.").partition("=")
        value = value if equals else next(words, None)
        if not key or value is None:
            raise flags.Error(f"{word} must have the form --config.section.key=value")
        overrides.append((key, value))
    return kept, tuple(overrides)


def _help(line: CommandLine) -> str:
    text = [(sys.modules["__main__"].__doc__ or "").strip(), ""]
    if line.arguments or line.words:
        text += [f"arguments: {' '.join(line.arguments.values()) or '...'}", ""]
    text += ["flags:"]
    for name, flag in line.flags().items():
        default = flag.default
        if isinstance(default, tuple):  # as it is typed
            default = ",".join(map(str, default))
        default = "" if default in (None, "") else f" (default: {default})"
        text.append(f"  --{name}: {flag.choices}{flag.about}{default}")
    text += [f"  --{alias}: as --{name}" for alias, name in line.aliases.items()]
    return "\n".join([*text, "  --v=1: log more, show tracebacks", "  --helpfull: all flags"])


def _help_config(
    keys: Mapping[str, type], experiment: str | None, overrides: Sequence[tuple[str, str]]
) -> str:
    import config_help

    values = load_experiment(experiment, overrides) if experiment is not None else {}
    return config_help.text(keys, values)
