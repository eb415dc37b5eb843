"""The command `lvm-jax`: lists the tools, or runs one."""

import ast
import difflib
import pathlib
import runpy
import signal
import sys

from lvm_jax import commands

# Words for files whose own names would hide what they show.
_WORDS = {"copy_experiment": "experiments"}
_WIDTH = 20


def main(typed: str = commands.NAME) -> None:
    """Runs `lvm-jax WORD ...`; alone, or asked for help, it lists the words.

    Args:
        typed: what stands in front of the word.
    """
    asked, *arguments = sys.argv[1:] or ["--help"]
    tools = {_WORDS.get(path.stem, path.stem): path for path in _files()}
    word = asked.replace("-", "_")
    if asked in ("--help", "-h"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `head` may have seen enough
        print(_help(typed, tools))
    elif asked == "--version":
        from lvm_jax.version import __version__

        print(f"lvm_jax {__version__}")
    elif word not in tools:
        near = difflib.get_close_matches(word, tools, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"{typed} alone lists them"
        print(f"{typed}: no command {asked}; {hint}", file=sys.stderr)
        sys.exit(2)
    else:
        commands.run_as_word(typed, word)
        sys.argv[1:] = arguments
        runpy.run_path(str(tools[word]), run_name="__main__")


def _files() -> list[pathlib.Path]:
    """The tools: files that are programs."""
    own = pathlib.Path(__file__).resolve()
    paths = [*commands.TOOLS.glob("*.py"), *commands.TOOLS.glob("launch/*.py")]
    is_program = lambda path: 'if __name__ == "__main__":' in path.read_text()
    return [path for path in sorted(paths) if path != own and is_program(path)]


def _help(typed: str, tools: dict[str, pathlib.Path]) -> str:
    """The words, each with the first line of its file."""
    lines = [f"  {word:{_WIDTH}}{_about(tools[word])}" for word in sorted(tools)]
    first = f"{typed} COMMAND ...; {typed} COMMAND --help says more of one."
    if not (commands.TOOLS / "quickstart.sh").is_file():
        first += "\nThe quick-start and launch/ (TPU pods, XPK, Slurm) are in a clone alone."
    return "\n".join([first, "", *lines])


def _about(path: pathlib.Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


if __name__ == "__main__":
    main(f"python -m {commands.MODULES}" if __package__ else "python tools")
