"""What the tools' commands are for whoever reads a message: as this program was run itself.

In a checkout tools are files, `python tools/train.py`; of an installed package they are modules,
`python -m lvm_jax.tools.train`, and words of one command, `lvm-jax train`. Texts of the code name
them as files.
"""

import os
import pathlib
import re
import shlex
import sys

NAME = "lvm-jax"
MODULES = "lvm_jax.tools"

_PACKAGE = pathlib.Path(__file__).resolve().parent
_INSIDE = _PACKAGE / "tools"
TOOLS = _INSIDE if _INSIDE.is_dir() else _PACKAGE.parent / "tools"
"""The folder of the tools: in an installed package, or beside that of a checkout."""

_FILE = re.compile(r"(?<![\w/.])(?P<before>(?:python )?tools/)?(?P<tool>(?:launch/)?\w+)\.py\b")
_typed: tuple[str, str] | None = None


def run_as_word(first: str, word: str) -> None:
    """Says that this program runs a tool because `FIRST WORD` was typed: `lvm-jax train`."""
    global _typed
    _typed = (first, word)


def command(tool: str) -> str:
    """The command that runs a tool, as one types it in a shell.

    Args:
        tool: its file without ending in the folder of tools, such as "train".
    """
    if _typed is not None:
        return f"{_typed[0]} {_stem(tool)}"
    main = sys.modules.get("__main__")
    if _module_of(main):
        return f"python -m {_dotted(tool)}"
    file = getattr(main, "__file__", None)
    if file is not None and pathlib.Path(file).resolve().is_relative_to(TOOLS):
        return f"python {shlex.quote(os.path.join(_typed_folder(file), f'{tool}.py'))}"
    return f"{NAME} {_stem(tool)}" if TOOLS == _INSIDE else f"python tools/{tool}.py"


def program() -> str:
    """What this program calls itself in front of its last line."""
    return " ".join(_typed) if _typed is not None else pathlib.Path(sys.argv[0]).name


def spelled(text: str) -> str:
    """A text that names tools as files -> one that names them as this program was run."""

    def replace(match: re.Match[str]) -> str:
        before, tool = match["before"] or "", match["tool"]
        typed = command(tool)
        if not (TOOLS / f"{tool}.py").is_file() or (typed.endswith(".py") and not before):
            return match[0]
        return typed if "python" in before else typed.removeprefix("python ").removeprefix("-m ")

    return _FILE.sub(replace, text)


def _stem(tool: str) -> str:
    return tool.rpartition("/")[2]


def _dotted(tool: str) -> str:
    return f"{MODULES}.{tool.replace('/', '.')}"


def _module_of(main: object) -> bool:
    """Whether `python -m` runs a tool of the package."""
    spec = getattr(main, "__spec__", None)
    return spec is not None and spec.name.startswith(f"{MODULES}.")


def _typed_folder(file: str) -> str:
    """The folder of tools as it was typed in front of the file that runs."""
    depth = len(pathlib.Path(file).resolve().relative_to(TOOLS).parts) - 1
    folder = os.path.normpath(os.path.join(os.path.dirname(sys.argv[0]), *[os.pardir] * depth))
    return "" if folder == os.curdir else folder
