"""Experiment files: what --config names, with the overrides of the command line."""

import ast
import dataclasses
import difflib
import importlib.util
import json
import pathlib
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import ml_collections
from absl import logging

ROOT = pathlib.Path(__file__).resolve().parents[1]
"""What holds tools/ and experiments/: the checkout, or the installed package."""

_NAME = "experiments"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentFile:
    """The experiment of a command line.

    Attributes:
        name: "experiments/FILE.py" or "experiments/FILE.py:ARG", see `load_experiment`.
        overrides: ("section.key", "value") pairs.
        only_print: whether the config is to be printed and nothing else done.
    """

    name: str
    overrides: tuple[tuple[str, str], ...] = ()
    only_print: bool = False

    def load(self) -> dict[str, Any]:
        """The values of the experiment; raises what `load_experiment` does."""
        return load_experiment(self.name, self.overrides)

    def build(self, build: Callable[[dict[str, Any]], T], values: dict[str, Any]) -> T:
        """Makes a dataclass of an experiment; ends the program where it is only to be printed.

        Args:
            build: nested dict -> dataclass, or a dict of dataclasses.
            values: what `load` gave.

        Raises:
            ValueError: what `build` refuses.
        """
        config = build(values)
        if self.only_print:
            from lvm_jax import configs

            print(json.dumps(configs.plain(config), indent=2))
            sys.exit(0)
        return config


def experiment_files() -> list[pathlib.Path]:
    """The experiments that come along, without what they share."""
    return sorted(path for path in ROOT.glob(f"{_NAME}/**/*.py") if path.name != "common.py")


def shipped_name(path: pathlib.Path) -> str:
    """What --config calls an experiment that comes along."""
    return path.relative_to(ROOT).as_posix()


def shipped_path(label: str, name: str) -> pathlib.Path:
    """An experiment that comes along.

    Args:
        label: what messages begin with, such as "--config=experiments/lvm.py:size=3b".
        name: "experiments/FILE.py".

    Raises:
        ValueError: there is none of this name.
    """
    known = {shipped_name(path): path for path in experiment_files()}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"experiments: {', '.join(known)}"
        raise ValueError(f"{label}: no file {name}; {hint}")
    return known[name]


def make_importable(path: pathlib.Path | None = None) -> None:
    """Lets `from experiments import ...` find what is beside a file, and then what comes along.

    Otherwise the current folder and the order of sys.path would decide.

    Args:
        path: of an experiment; what is beside it counts where a folder "experiments" holds it.
    """
    folders = path.resolve().parents if path is not None else ()
    own = [str(folder) for folder in folders if folder.name == _NAME]
    package = sys.modules.setdefault(_NAME, types.ModuleType(_NAME))
    package.__path__ = [*own[:1], str(ROOT / _NAME)]


def load_experiment(name: str, overrides: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Loads an experiment file.

    Args:
        name: "experiments/FILE.py" or "experiments/FILE.py:ARG"; ARG goes to its `get_config`. What
            is not there may be the name of one that comes along.
        overrides: ("section.key", "value") pairs. Keys may be new to the experiment: which keys
            exist is decided by the dataclasses that the tool builds from it.

    Returns:
        A plain nested dict.

    Raises:
        ValueError: no such file, a file without `get_config` or whose `get_config` returns no
            mapping, an override of a whole section by anything but none, or a URL.
    """
    path, _, argument = name.partition(":")
    get_config = _get_config(name, pathlib.Path(path))
    config = get_config(argument) if argument else get_config()
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


def _get_config(name: str, path: pathlib.Path) -> Callable[..., Any]:
    """The function of a file; `name` is what messages call it."""
    if not path.is_file():
        path = shipped_path(f"--config={name}", str(path))
        logging.info("--config=%s is the one that comes along, %s", name, path)
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--config={name}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    make_importable(path)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"--config={name}: cannot load {path}: {error}") from error
    if not hasattr(module, "get_config"):
        raise ValueError(f'--config={name}: {path} must define get_config(arg="")')
    return module.get_config


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


def _refuse_urls_in(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_urls_in(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _refuse_urls_in(f"{name}[{index}]", inner)
    else:
        refuse_url(name, value, takes_store=name.rpartition(".")[2] in _ON_STORES)


# Values of experiments that may be on a store; their sections are not known here.
_ON_STORES = ("shards", "init_from")
_STORE = re.compile(r"(gs|s3)://+[^/]")
# A drive letter is no scheme.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def refuse_url(name: str, value: Any, takes_store: bool) -> None:
    """Refuses what would become a folder with the odd name "gs:".

    Args:
        name: of the value; "" for a plain argument.
        value: a URL only if it is a text that looks like one.
        takes_store: whether it may be on an object store.

    Raises:
        ValueError: a URL that is none of a store, or of a store although it may not be on one.
    """
    if not isinstance(value, str) or not _URL.match(value):
        return
    given = f"{name}={value}" if name else f"the argument {value}"
    if takes_store and not _STORE.match(value):
        raise ValueError(
            f"{given} is a URL of no store; write gs://BUCKET/..., s3://BUCKET/... or a path"
        )
    if not takes_store:
        raise ValueError(
            f"{given} is a URL, but this is on a disk, always; give a path, and copy with the "
            "store's own tool"
        )
