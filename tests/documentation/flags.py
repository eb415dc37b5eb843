"""Command lines that are too long to run: their flags, keys and experiments are looked up."""

import functools
import importlib
import pathlib
import re
import shlex
import subprocess
import sys

import config_help
import experiment_files

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = "tools/train.py"


def check(command: str) -> None:
    """Fails for a flag that the tool of a command has not, or an experiment that is not there."""
    script = re.search(r"tools/[\w/]+\.(py|sh|sbatch)", command)
    assert script is not None, f"no tool of this project: {command}"
    before, after = command[: script.start()], command[script.end() :]
    tool = script[0]
    words = shlex.split(after)
    if tool.endswith(".sbatch"):
        assert before.startswith("sbatch ")
        words = ["--", *words]
    while words:
        word = words.pop(0)
        if word == "--":  # what follows goes to the training
            tool = TRAIN
        elif word.startswith("--train="):
            words += ["--", *shlex.split(word.removeprefix("--train="))]
        elif word == "|":
            words = words[words.index("--") :]
        elif word.startswith("--config."):
            _require_key(tool, word)
        elif word.startswith("--config="):
            _load(word.removeprefix("--config="))
        elif word.startswith("--"):
            _require_flag(tool, word)


def _require_flag(tool: str, word: str) -> None:
    name = word[2:].partition("=")[0]
    names = {name, name.removeprefix("no")}
    known = set(re.findall(r"--(\w+)", _help(tool)))
    assert names & known, f"{tool} has no flag --{name}"


@functools.cache
def _help(tool: str) -> str:
    program = ["bash"] if tool.endswith(".sh") else [sys.executable]
    return subprocess.run(
        [*program, str(ROOT / tool), "--help"], capture_output=True, text=True, check=True
    ).stdout


def _require_key(tool: str, word: str) -> None:
    key = word[2:].partition("=")[0]
    sections = _keys(pathlib.Path(tool).stem)
    assert any(re.fullmatch(pattern, key) for pattern in sections), f"{tool} has no key {key}"


@functools.cache
def _keys(module: str) -> set[str]:
    keys = config_help.keys(importlib.import_module(module).keys())
    return {re.escape(key.path).replace("NAME", r"\w+") for key in keys}


def _load(name: str) -> None:
    """Experiments of the project are built; others are the reader's own, or of a page."""
    if name.startswith("experiments/") and "..." not in name and "/data/" not in name:
        experiment_files.load_experiment(str(ROOT / name))
