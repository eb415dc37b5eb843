"""What every tool shares: flags, experiment files, log lines, errors and exit codes.

A tool ends with `cli.run(main)`. Exit codes: 0 done, 2 the user can fix it before anything ran (a
bad flag, path or config value), 1 it failed later, 128 + N stopped by signal N. Errors are one line
on stderr; `--v=1` shows the traceback too.
"""

import ast
import difflib
import importlib.util
import logging as python_logging
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import tqdm
from absl import app, flags, logging

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLAGS = flags.FLAGS
REST = "..."
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
    if required:
        flags.mark_flag_as_required("config")


def load_config() -> dict[str, Any]:
    """The experiment that --config names, with the overrides of the command line applied."""
    return load_experiment(FLAGS.config, _overrides)


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
            mapping, or an override of a whole section.
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
    if isinstance(old, Mapping):
        raise ValueError(
            f"--config.{key}={text}: {last} is a section; override one of its keys, such as "
            f"--config.{key}.{next(iter(old), 'key')}"
        )
    node[last] = text if isinstance(old, str) else _parse_value(text)


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
    app.run(lambda argv: _run_main(main, argv[1:]), flags_parser=lambda a: _parse(a, arguments))


def fail(message: str, code: int) -> None:
    """Ends the program with one line on stderr."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


def _parse(argv: list[str], arguments: Sequence[str]) -> list[str]:
    if any(word in ("--help", "-help", "-h", "--helpshort") for word in argv[1:]):
        print(_help(arguments))
        sys.exit(0)
    try:
        rest = FLAGS(_take_overrides(argv))
    except flags.Error as error:
        fail(f"{_flag_message(error)} (--help lists the flags)", 2)
    found, needed = rest[1:], [name for name in arguments if name != REST]
    if len(found) < len(needed) or (len(found) > len(needed) and REST not in arguments):
        usage = f"expects {' '.join(arguments)}" if arguments else "takes no plain arguments"
        fail(f"{usage}, got {' '.join(found) or 'nothing'} (--help lists the flags)", 2)
    return rest


def _flag_message(error: flags.Error) -> str:
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
        main(*arguments)
    except ValueError as error:
        _explain(error, 2)
    except (RuntimeError, OSError, MemoryError) as error:
        _explain(error, getattr(error, "exit_code", 1))
    except KeyboardInterrupt:
        fail("interrupted", 130)


def _explain(error: BaseException, code: int) -> None:
    if logging.get_verbosity() > logging.INFO:
        traceback.print_exception(error)
    kind = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
    fail(kind + " ".join(str(error).split()), code)


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
