"""What every tool shares: flags, experiment files, log lines, errors and exit codes.

A tool ends with `cli.run(main)`. Exit codes: 0 done, 2 the user can fix it before anything ran (a
bad flag, path or config value), 1 it failed later, 128 + N stopped by signal N. Errors are one line
on stderr; `--v=1` shows the traceback too.
"""

import ast
import difflib
import importlib.util
import json
import logging as python_logging
import os
import pathlib
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import ml_collections
import tqdm
from absl import app, flags, logging

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLAGS = flags.FLAGS
REST = "..."
T = TypeVar("T")
_overrides: list[tuple[str, str]] = []

# --help shows the flags of the tool; this module's count as the tool's own.
flags.disclaim_key_flags()


def define_config(*, required: bool = True) -> None:
    """Defines --config for a tool that runs an experiment."""
    flags.DEFINE_string(
        "config",
        None,
        "Experiment: FILE.py or FILE.py:ARG. Any of its values is overridden by "
        "--config.section.key=value.",
    )
    flags.DEFINE_bool(
        "print_config",
        False,
        "Prints the whole resolved config as JSON, defaults included, and does nothing else; needs "
        "no other flag than --config.",
    )
    if required:
        flags.mark_flag_as_required("config")


def load_config() -> dict[str, Any]:
    """The experiment that --config names, with the overrides of the command line applied."""
    require("config")
    return load_experiment(FLAGS.config, _overrides)


def build_config(build: Callable[[dict[str, Any]], T], values: dict[str, Any]) -> T:
    """Makes a dataclass of an experiment; with --print_config prints it and ends the program.

    Args:
        build: nested dict -> dataclass, or a dict of dataclasses.
        values: what `load_config` gave.

    Raises:
        ValueError: what `build` refuses.
    """
    config = build(values)
    if FLAGS.print_config:
        from lvm_jax import configs

        print(json.dumps(configs.plain(config), indent=2))
        sys.exit(0)
    return config


def require(*names: str, mode: str = "") -> None:
    """Refuses a command line without flags that a mode of the tool needs.

    Args:
        names: of the flags.
        mode: how the user asked for it, such as "--task=perplexity"; empty when there is one only.

    Raises:
        ValueError: names the flag that is missing.
    """
    for name in names:
        if FLAGS[name].value is None and (name == "config" or not _prints_config()):
            needed = f"{mode} needs --{name}" if mode else f"--{name} is required"
            raise ValueError(f"{needed} (--help lists the flags)")


def refuse_unread(mode: str, reads: Sequence[str]) -> None:
    """Refuses flags of the tool that were given, but that one of its modes does not read.

    Args:
        mode: what the user asked for, such as "--dry_run".
        reads: names of all flags that it reads.

    Raises:
        ValueError: names such a flag; dropped without a word it would be taken for obeyed.
    """
    for flag in FLAGS.get_key_flags_for_module(sys.argv[0]):
        if flag.present and flag.name not in (*reads, "print_config"):
            raise ValueError(f"{mode} does not read --{flag.name}; drop one of them")


def _prints_config() -> bool:
    return "print_config" in FLAGS and FLAGS.print_config


def load_experiment(name: str, overrides: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Loads an experiment file.

    Args:
        name: "experiments/FILE.py" or "experiments/FILE.py:ARG"; ARG goes to its `get_config`.
        overrides: ("section.key", "value") pairs. Keys may be new to the experiment: which keys
            exist is decided by the dataclasses that the tool builds from it.

    Returns:
        A plain nested dict.

    Raises:
        ValueError: no such file, a file without `get_config` or whose `get_config` returns no
            mapping, an override of a whole section by anything but none, or a URL.
    """
    path, _, argument = name.partition(":")
    file = pathlib.Path(path)
    if not file.is_file():
        known = [f"experiments/{found.name}" for found in experiment_files()]
        near = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"experiments: {', '.join(known)}"
        raise ValueError(f"--config={name}: no file {path}; {hint}")
    spec = importlib.util.spec_from_file_location(f"experiment_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # experiments share experiments/common.py
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"--config={name}: cannot load {path}: {error}") from error
    if not hasattr(module, "get_config"):
        raise ValueError(f'--config={name}: {path} must define get_config(arg="")')
    config = module.get_config(argument) if argument else module.get_config()
    values = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else config
    if not isinstance(values, Mapping):
        raise ValueError(
            f"--config={name}: get_config of {path} must return a ConfigDict or a dict, not "
            f"{values!r}"
        )
    values = dict(values)
    for key, value in overrides:
        _override(values, key, value)
    _refuse_urls_in("config", values)
    return values


def experiment_files() -> list[pathlib.Path]:
    """The experiments of this checkout, without what they share."""
    return sorted(path for path in ROOT.glob("experiments/*.py") if path.name != "common.py")


def _override(values: dict[str, Any], key: str, text: str) -> None:
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ValueError(f"--config.{key}={text}: {parent} is a value, not a section")
    old = node.get(last)
    value = text if isinstance(old, str) else _parse_value(text)
    # A section may be left out; whether this one may is known to whoever builds it.
    if isinstance(old, Mapping) and value is not None:
        raise ValueError(
            f"--config.{key}={text}: {last} is a section; override one of its keys, such as "
            f"--config.{key}.{next(iter(old), 'key')}"
        )
    node[last] = value


def _parse_value(text: str) -> Any:
    """Python literals, true/false/none in any case; anything else stays a string."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def run(main: Callable[..., None], arguments: Sequence[str] = ()) -> None:
    """Parses the flags, runs a tool and turns its errors into one line and an exit code.

    Args:
        main: called with the positional arguments.
        arguments: their names; a last "..." accepts any number more, as in `--images a.png b.png`.
    """
    FLAGS.set_default("verbosity", logging.INFO)
    # Names of files may be no text that can be printed.
    sys.stdout.reconfigure(errors="backslashreplace")
    app.run(lambda argv: _run_main(main, argv[1:]), flags_parser=lambda a: _parse(a, arguments))


def fail(message: str, code: int) -> None:
    """Ends the program with one line on stderr."""
    say(message)
    sys.exit(code)


def say(message: str) -> None:
    """Writes the line that a program ends with; a line break in front begins a new one."""
    begin, text = ("\n", message[1:]) if message.startswith("\n") else ("", message)
    print(f"{begin}{pathlib.Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def _parse(argv: list[str], arguments: Sequence[str]) -> list[str]:
    if any(word in ("--help", "-help", "-h", "--helpshort") for word in argv[1:]):
        print(_help(arguments))
        sys.exit(0)
    if "print_config" in FLAGS and any(w.lstrip("-") == "print_config" for w in argv[1:]):
        _require_config_alone()
    try:
        rest = FLAGS(_take_overrides(argv))
        _check_parsed(rest[1:])
    except (flags.Error, ValueError) as error:
        fail(f"{_flag_message(error)} (--help lists the flags)", 2)
    found, needed = rest[1:], [name for name in arguments if name != REST]
    if len(found) < len(needed) or (len(found) > len(needed) and REST not in arguments):
        usage = f"expects {' '.join(arguments)}" if arguments else "takes no plain arguments"
        fail(f"{usage}, got {' '.join(found) or 'nothing'} (--help lists the flags)", 2)
    return rest


def _require_config_alone() -> None:
    """Nothing but --config is needed to print it."""
    for name in FLAGS:
        if name != "config":
            FLAGS[name].validators.clear()


def _check_parsed(rest: Sequence[str]) -> None:
    """What no flag can check for itself.

    Raises:
        ValueError: overrides without an experiment, or a URL where a path belongs.
    """
    if _overrides and FLAGS.config is None:
        key, value = _overrides[0]
        raise ValueError(
            f"--config.{key}={value} overrides an experiment, but there is no --config=FILE"
        )
    for flag in FLAGS.get_key_flags_for_module(sys.argv[0]):
        if flag.present and isinstance(flag.value, str):
            _refuse_url(f"--{flag.name}", flag.value)
    for word in rest:
        _refuse_url("the argument", word)


# A drive letter is no scheme.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def _refuse_urls_in(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_urls_in(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _refuse_urls_in(f"{name}[{index}]", inner)
    elif isinstance(value, str):
        _refuse_url(name, value)


def _refuse_url(name: str, text: str) -> None:
    """Refuses what would become a folder with the odd name "gs:"."""
    if _URL.match(text):
        raise ValueError(
            f"{name}={text} is a URL, but files are read and written on mounted file systems only; "
            "mount the bucket and give its path"
        )


def _flag_message(error: Exception) -> str:
    message = " ".join(str(error).split())
    missing = re.search(r"Flag (--\w+) must have a value other than None", message)
    return f"{missing[1]} is required" if missing else message


def _take_overrides(argv: Sequence[str]) -> list[str]:
    """Moves --config.key=value (or --config.key value) out of the flags."""
    kept, words = [], iter(argv)
    for word in words:
        name = word.lstrip("-")
        if not (word.startswith("-") and name.startswith("config.")):
            kept.append(word)
            continue
        if "config" not in FLAGS:
            raise flags.Error(f"{word}: this tool takes no --config")
        key, equals, value = name.removeprefix("config.").partition("=")
        value = value if equals else next(words, None)
        if not key or value is None:
            raise flags.Error(f"{word} must have the form --config.section.key=value")
        _overrides.append((key, value))
    return kept


def _help(arguments: Sequence[str]) -> str:
    text = [(sys.modules["__main__"].__doc__ or "").strip(), ""]
    if arguments:
        text += [f"arguments: {' '.join(arguments)}", ""]
    text += ["flags:"]
    for flag in FLAGS.get_key_flags_for_module(sys.argv[0]):
        default = f" (default: {flag.default})" if flag.default not in (None, "", []) else ""
        text.append(f"  --{flag.name}: {' '.join(str(flag.help).split())}{default}")
    return "\n".join([*text, "  --v=1: log more, show tracebacks", "  --helpfull: all flags"])


def _run_main(main: Callable[..., None], arguments: list[str]) -> None:
    _log_plainly()
    try:
        try:
            main(*arguments)
        finally:
            sys.stdout.flush()
    except EXPLAINED as error:
        if isinstance(error, BrokenPipeError):
            _end_if_nobody_reads()
        fail(*explanation(error))


def _end_if_nobody_reads() -> None:
    """Ends the program as SIGPIPE would when what reads its output, such as `head`, has left."""
    output = select.poll()
    output.register(sys.stdout, 0)
    if any(event & select.POLLERR for _, event in output.poll(0)):
        # What is still to be written goes nowhere, or the interpreter would complain in the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


EXPLAINED = (ValueError, RuntimeError, OSError, MemoryError, KeyboardInterrupt)
"""Errors that a line explains; any other one is a bug, whose traceback matters."""


def explanation(error: BaseException) -> tuple[str, int]:
    """What a tool says in its last line about an error, and its exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    bug = not isinstance(error, EXPLAINED)
    if bug or logging.get_verbosity() > logging.INFO:
        traceback.print_exception(error)
    code = 2 if isinstance(error, ValueError) else getattr(error, "exit_code", 1)
    kind = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
    return kind + " ".join(_as_flags(error).split()), code


def _as_flags(error: BaseException) -> str:
    """An error's message, in which fields and arguments are the flags that set them."""
    from lvm_jax import configs

    if isinstance(error, configs.ConfigError):
        return error.spelled(lambda name: f"--{name}")
    return str(error)


class _LineHandler(python_logging.Handler):
    """Log lines above a progress bar instead of through it."""

    def emit(self, record: python_logging.LogRecord) -> None:
        tqdm.tqdm.write(self.format(record), file=sys.stderr)


def _log_plainly() -> None:
    handler = _LineHandler()
    handler.setFormatter(python_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    # Libraries narrate at INFO through the same logger; only their warnings concern the user.
    ours = (str(ROOT / "lvm_jax"), str(ROOT / "tools"))
    handler.addFilter(
        lambda record: (
            record.levelno >= python_logging.WARNING
            or record.pathname.startswith(ours)
            or logging.get_verbosity() > logging.INFO
        )
    )
    python_logging.root.handlers = [handler]
