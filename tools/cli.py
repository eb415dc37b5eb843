"""What every tool shares: its command line, log lines, errors and exit codes.

A tool ends with `cli.run(main)`, where `main` takes a dataclass whose fields are the flags. Exit
codes: 0 done, 2 the user can fix it before anything ran (a bad flag, path or config value), 1 it
failed later, 128 + N stopped by signal N. Errors are one line on stderr; `--v=1` shows the
traceback too.
"""

import io
import logging as python_logging
import os
import pathlib
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Mapping

import tqdm
from absl import app, flags, logging

import command_line
from command_line import CommandLine
from lvm_jax import commands, configs
from options import Main, Mode, modes_of


def run(
    main: Main | Mapping[str, Main],
    *,
    arguments: Mapping[str, str] | None = None,
    words: str = "",
    aliases: Mapping[str, str] | None = None,
    keys: Callable[[], Mapping[str, type]] | None = None,
) -> None:
    """Parses the flags, runs a tool and turns its errors into one line and an exit code.

    Args:
        main: a function of one dataclass, or several by what asks for them, see `options.Mode`.
        arguments: field -> what messages call the plain argument that it takes.
        words: field that takes any number of plain arguments, as in `--images a.png b.png`, or
            without its flag if it is one of `arguments`.
        aliases: other name -> flag.
        keys: for a tool with --config: sections of a config, such as "config.corpus" -> their
            dataclasses.
    """
    line = CommandLine(
        modes=modes_of(main),
        arguments=arguments or {},
        words=words,
        aliases=aliases or {},
        keys=keys,
    )
    flags.FLAGS.set_default("verbosity", logging.INFO)
    command_line.define(line)
    # Names of files may be no text that can be printed. Of a log file too, lines come when written.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    chosen: list[tuple[Mode, object]] = []

    def parse(argv: list[str]) -> list[str]:
        try:
            chosen.append(command_line.parse(line, argv))
        except (flags.Error, ValueError) as error:
            fail(f"{' '.join(_as_flags(error).split())} (--help lists the flags)", 2)
        return argv[:1]

    app.run(lambda _: _run(*chosen[0]), flags_parser=parse)


def fail(message: str, code: int) -> None:
    """Ends the program with one line on stderr."""
    say(message)
    sys.exit(code)


def say(message: str) -> None:
    """Writes the line that a program ends with; a line break in front begins a new one."""
    begin, text = ("\n", message[1:]) if message.startswith("\n") else ("", message)
    print(f"{begin}{commands.program()}: {text}", file=sys.stderr, flush=True)


def _run(mode: Mode, options: object) -> None:
    _log_plainly()
    try:
        try:
            mode.run(options)
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
    if isinstance(error, configs.ConfigError):
        return error.spelled(_as_flag)
    return str(error)


def _as_flag(name: str) -> str:
    """A name as it is typed; an item of a list, or a name of several words, is none."""
    return f"--{name}" if re.fullmatch(r"[^\s\[]+", name) else name


class _LineHandler(python_logging.Handler):
    """Log lines above a progress bar instead of through it."""

    def emit(self, record: python_logging.LogRecord) -> None:
        tqdm.tqdm.write(self.format(record), file=sys.stderr)


def _log_plainly() -> None:
    handler = _LineHandler()
    handler.setFormatter(python_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    # Libraries narrate at INFO through the same logger; only their warnings concern the user.
    ours = (str(pathlib.Path(commands.__file__).parent), str(commands.TOOLS))
    handler.addFilter(
        lambda record: (
            record.levelno >= python_logging.WARNING
            or record.pathname.startswith(ours)
            or logging.get_verbosity() > logging.INFO
        )
    )
    python_logging.root.handlers = [handler]
