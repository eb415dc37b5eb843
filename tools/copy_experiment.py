r"""Lists the experiments that come along, or copies one to edit.

  python tools/copy_experiment.py
  python tools/copy_experiment.py --copy=experiments/lvm.py
  python tools/copy_experiment.py --copy=experiments/lvm.py --out=experiments/mine.py

--config takes a file that is there, and otherwise the one of that name that comes along. A copy in
a folder "experiments" finds those beside it first, and then what comes along.
"""

import ast
import dataclasses
import pathlib
import shutil

import cli
from experiment_files import experiment_files, shipped_name, shipped_path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """No choice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copy:
    """Which experiment.

    Attributes:
        copy: as --config names it, without an argument.
        out: file to write; default: of the same name, in the current folder.
    """

    copy: str
    out: str | None = None


def show(_: Listing) -> None:
    paths = experiment_files()
    width = max(len(shipped_name(path)) for path in paths) + 2
    for path in paths:
        about = ast.get_docstring(ast.parse(path.read_text())) or ""
        print(f"{shipped_name(path):{width}}{about.partition(chr(10))[0]}")


def copy(options: Copy) -> None:
    source = shipped_path(f"--copy={options.copy}", options.copy)
    out = pathlib.Path(options.out or shipped_name(source))
    # What an experiment reads is beside it, under a name that begins with its own.
    files = {path: out.parent / path.name for path in source.parent.glob(f"{source.stem}_*.json")}
    files[source] = out
    for there in files.values():
        if there.exists():
            raise ValueError(f"{there} exists; remove it, or name another file by --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, there in files.items():
        shutil.copyfile(path, there)
        print(f"wrote {there}")


if __name__ == "__main__":
    cli.run({"a listing": show, "--copy": copy})
