"""The wheel: what is in it, and that it works where there is no checkout."""

import configparser
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from experiment_files import experiment_files, shipped_name
from lvm_jax.version import __version__

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAIR = (
    *("MODEL_CARD.md", "ATTRIBUTION.md", "prompts/emoji_mask.json"),
    *("model/config.json", "model/params/head.kernel/.zarray", "model/params/head.kernel/0.0"),
    *("tokenizer/config.json", "tokenizer/weights.safetensors"),
)
BACKEND = (77, "setuptools >= 77 builds the wheel: pip install 'setuptools>=77'")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
# What a script of the console does.
WORD = "import sys; from lvm_jax.tools.__main__ import main; sys.argv[0] = 'lvm-jax'; main()"


def backend() -> int:
    try:
        return int(importlib.metadata.version("setuptools").partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built from a copy: building leaves folders."""
    if backend() < BACKEND[0]:
        pytest.skip(BACKEND[1])
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    ignore = shutil.ignore_patterns("__pycache__", "results", "*.egg-info")
    for name in ("lvm_jax", "tools", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    # Where no pair ships yet, what it would be made of.
    for name in PAIR:
        path = source / "lvm_jax" / "pretrained" / "uvd_mini" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-c", BUILD, str(out)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder like site-packages."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture
def run(site, tmp_path):
    """Runs Python on the wheel alone, in an empty folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


def test_a_wheel_holds_the_package_its_tools_and_experiments(wheel):
    assert wheel.name == f"lvm_jax-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = [p for p in (ROOT / "lvm_jax").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    expected = {p.relative_to(ROOT).as_posix() for p in package}
    expected |= {f"lvm_jax/pretrained/uvd_mini/{name}" for name in PAIR}
    for folder, patterns in {"tools": ["*.py"], "experiments": ["*.py", "*.json"]}.items():
        paths = {
            p.relative_to(ROOT) for pattern in patterns for p in ROOT.glob(f"{folder}/**/{pattern}")
        }
        expected |= {f"lvm_jax/{p.as_posix()}" for p in paths if p.parts[1] != "results"}
    info = f"lvm_jax-{__version__}.dist-info"
    assert {name for name in names if not name.startswith(info)} == expected
    assert f"{info}/licenses/LICENSE" in names


def test_the_command_is_declared(site):
    (path,) = site.glob("*.dist-info/entry_points.txt")
    points = configparser.ConfigParser()
    points.read(path)
    assert dict(points["console_scripts"]) == {"lvm-jax": "lvm_jax.tools.__main__:main"}


def test_the_command_lists_its_words_and_those_that_are_near(run):
    listed = run("-c", WORD)
    assert listed.returncode == 0, listed.stderr
    words = {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")}
    assert {"train", "train_tokenizer", "generate", "experiments", "gke_jobset"} <= words
    assert "in a clone alone" in listed.stdout
    refused = run("-c", WORD, "build-shard")
    assert refused.returncode == 2
    assert refused.stderr == "lvm-jax: no command build-shard; did you mean build_shards?\n"


def test_help_and_errors_say_what_was_typed(run):
    shown = run("-c", WORD, "train", "--help").stdout
    assert "\n  lvm-jax train --config=experiments/debug.py" in shown and "tools/" not in shown
    shown = run("-m", "lvm_jax.tools.train", "--help").stdout
    assert "\n  python -m lvm_jax.tools.train --config=experiments/debug.py" in shown
    refused = run("-c", WORD, "inspect-shards", "nowhere")
    assert refused.returncode == 2
    assert "lvm-jax inspect_shards: nowhere/manifest.json does not exist" in refused.stderr
    assert "lvm-jax build_shards makes shards" in refused.stderr


def test_experiments_come_along(run, site):
    listed = run("-c", WORD, "experiments").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [shipped_name(p) for p in experiment_files()]
    name = "experiments/lvm.py:size=3b,topology=v5p-512"
    shown = run("-m", "lvm_jax.tools.train", "--print_config", f"--config={name}")
    assert shown.returncode == 0, shown.stderr
    assert f"--config={name} is the one that comes along, {site}/lvm_jax" in shown.stderr
    assert json.loads(shown.stdout)["model"]["hidden_dim"] == 3200


def test_a_tool_works_with_processes_of_its_own(run, tmp_path):
    """What a spawned process does is in a module that it must find again."""
    for name in "ab":
        (tmp_path / name).write_text('{"tokens": "AAAAAAEAAAACAAAAAwAAAA=="}\n' * 3)
    words = ["--import_jsonl", "a", "b", "--out=shards", "--tokens_per_image=4", "--num_codes=8"]
    made = run("-c", WORD, "build_shards", *words, "--num_workers=2")
    assert made.returncode == 0, made.stderr
    assert "6 sentences, 6 images, 24 tokens" in made.stderr + made.stdout
    assert "\r" not in made.stderr
