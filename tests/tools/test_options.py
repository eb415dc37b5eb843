"""Flags are the fields of dataclasses: which are needed, which are read, what help says."""

import dataclasses
import importlib
import pathlib
import subprocess
import sys
from typing import Literal

import pytest

import options
from experiment_files import ExperimentFile

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """A picture.

    Attributes:
        out: picture to write.
        size: of it.
        style: how it looks.
    """

    out: str
    size: int = 8
    style: Literal["plain", "bold"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Count:
    """Numbers.

    Attributes:
        count: what to count.
        size: of each.
    """

    count: str
    size: int = 9


def draw(options: Draw) -> None: ...


def count(options: Count) -> None: ...


MODES = options.modes_of({"drawing": draw, "--count": count})


def test_modes_are_chosen_by_what_is_given():
    assert options.choose(MODES, {"out": "x"}).run is draw
    chosen = options.choose(MODES, {"count": "x"})
    assert chosen.run is count and options.build(chosen, {"count": "x"}) == Count(count="x")
    by_value = options.modes_of({"do=draw": draw, "do=count": count})
    assert options.choose(by_value, {"do": "count"}).run is count
    for given, message in (
        ({"do": "cuont"}, "unknown do 'cuont'; use one of draw, count"),
        ({}, "--do is required"),
    ):
        with pytest.raises(ValueError, match=message):
            options.choose(by_value, given)
    with pytest.raises(ValueError, match="give either --out or --count"):
        options.choose(options.modes_of({"--out": draw, "--count": count}), {})


def test_flags_that_are_missing_or_unread_are_refused():
    drawing, counting = MODES
    with pytest.raises(ValueError, match=r"^--out is required$"):
        options.build(drawing, {"size": 1})
    with pytest.raises(ValueError, match=r"^--count needs --count$"):
        options.build(counting, {})
    with pytest.raises(ValueError, match=r"^drawing does not read --count; drop one of them$"):
        options.build(drawing, {"out": "x", "count": "y"})
    # Where only the config is printed, nothing else is needed.
    assert options.build(drawing, {}, needed={"config"}).out is None


def test_flags_have_the_type_and_the_line_of_their_field():
    flags = options.flags_of(MODES)
    assert list(flags) == ["out", "size", "style", "count"], "what a mode needs comes first"
    assert flags["style"].hint == Literal["plain", "bold"]
    assert flags["out"].about == "picture to write." and flags["count"].about == "what to count."
    assert flags["size"].default is None, "the modes do not agree"


def names_of_tools() -> list[str]:
    return sorted(path.stem for path in TOOLS.glob("*.py") if "    cli.run(" in path.read_text())


def test_tools_are_modules_that_do_nothing_when_imported():
    for name in names_of_tools():
        importlib.import_module(name)


@pytest.mark.parametrize("name", names_of_tools())
def test_every_flag_is_explained(name):
    tool = importlib.import_module(name)
    mains = [each for each in vars(tool).values() if getattr(each, "__module__", "") == name]
    classes = [each for each in mains if isinstance(each, type) and dataclasses.is_dataclass(each)]
    for options_class in classes:
        if dataclasses.fields(options_class) and options_class.__name__ not in ("Prompt",):
            flags = options.flags_of([options.Mode(when="", run=print, options=options_class)])
            assert [flag.name for flag in flags.values() if not flag.about] == []


def test_help_imports_no_jax():
    program = f"""
import sys
sys.path.insert(0, {str(TOOLS)!r})
for name in {names_of_tools()}:
    __import__(name)
import command_line, config_help
assert "jax" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_experiment_is_loaded_with_its_overrides():
    experiment = ExperimentFile(name="experiments/debug.py", overrides=(("batch_size", "4"),))
    assert experiment.load()["batch_size"] == 4
    assert experiment.build(lambda values: values["seed"], experiment.load()) == 0
