"""Every experiment file builds its config, and the config describes something that can be built."""

import json
import pathlib
import re

import jax
import pytest

from experiment_files import experiment_files, load_experiment
from experiments import lvm
from lvm_jax import configs, partition
from lvm_jax import mesh as mesh_lib
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.planning import estimate, hardware, topologies
from lvm_jax.training import durations
from lvm_jax.training.transformer import next_token, transformer_experiment, transformer_job
from lvm_jax.training.transformer.batch import abstract_batch
from lvm_jax.training.transformer.state import make_init
from lvm_jax.training.vqgan import tokenizer_job

ROOT = pathlib.Path(__file__).resolve().parents[1]

FILES = experiment_files()
# These take what they need from folders, and have their own tests.
OF_FOLDERS = ("own_images", "finetune")
VALUES = {p.stem: load_experiment(str(p)) for p in FILES if p.stem not in OF_FOLDERS}
TRANSFORMERS = [name for name, values in VALUES.items() if "model" in values]
TOKENIZERS = [name for name, values in VALUES.items() if "tokenizer" in values]
LVM = {size: load_experiment(f"{ROOT}/experiments/lvm.py:size={size}") for size in lvm.SIZES}
VARIANTS = {"lvm": "size=7b,original=True", "quickstart_model": "size=smallest", "debug": "steps=3"}
HARDWARE = {**dict.fromkeys(lvm.SIZES, 128), **dict.fromkeys(lvm.ON_ONE_HOST, 8), lvm.OF_README: 32}


def test_there_are_experiments():
    assert {"debug", "lvm", "uvdv1", "vqgan"} <= VALUES.keys()
    assert set(lvm.SIZES) == PRESETS.keys() - {"debug", "quickstart", "lvm_7b"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_header_says_what_to_expect(path):
    header = path.read_text().split('"""')[1]
    assert path.relative_to(ROOT).as_posix() in header
    for word in ("Hardware:", "Duration:", "Expected result:"):
        assert word in header


@pytest.mark.parametrize(
    "values",
    [*(VALUES[name] for name in TRANSFORMERS), *LVM.values()],
    ids=[*TRANSFORMERS, *(f"lvm-{size}" for size in LVM)],
)
def test_a_transformer_experiment_trains_by_shape(values):
    experiment = transformer_experiment.build_experiment(values)
    rates = durations.Rates(
        examples_per_step=experiment.batch_size,
        tokens_per_step=experiment.batch_size * experiment.data.context,
        examples_per_epoch=10**8,
    )
    steps = experiment.loop.resolve(rates).num_steps
    optimizer = experiment.optimizer.resolve(
        durations.Rates(examples_per_step=experiment.batch_size, run_steps=steps)
    )
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(fsdp=1), jax.devices()[:1])
    arguments = (experiment.model, optimizer, mesh, experiment.rules)
    state = jax.eval_shape(make_init(*arguments, experiment.seed))
    batch = abstract_batch(experiment.batch_size, experiment.data.context, mesh, experiment.rules)
    step = next_token.make_step(
        *arguments, accumulation=experiment.accumulation, loss_chunks=experiment.loss_chunks
    )
    new_state, _ = jax.eval_shape(step, state, batch)
    assert jax.tree.map(lambda x: x.shape, new_state) == jax.tree.map(lambda x: x.shape, state)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_experiment_can_be_built(name):
    experiment = tokenizer_job.build_experiment(VALUES[name])
    assert tokenizer_job.build_experiment(configs.to_dict(experiment)) == experiment
    assert experiment.batch_size % experiment.accumulation == 0


@pytest.mark.parametrize(("size", "num_devices"), HARDWARE.items())
def test_parameters_and_batches_divide_on_the_hardware_of_the_header(size, num_devices):
    experiment = transformer_experiment.build_experiment(LVM[size])
    sizes = dict(zip(mesh_lib.AXES, mesh_lib.resolve(experiment.mesh, num_devices)))
    rows = experiment.batch_size // experiment.accumulation
    assert rows % (sizes["data"] * sizes["fsdp"]) == 0
    shapes = jax.tree.leaves(transformer.abstract_params(experiment.model))
    is_axes = lambda leaf: isinstance(leaf, tuple)
    axes = jax.tree.leaves(transformer.logical_axes(experiment.model), is_leaf=is_axes)
    rules = partition.Rules()
    for array, logical in zip(shapes, axes):
        for length, axis in zip(array.shape, logical):
            for mesh_axis in rules.mesh_axes(axis):
                assert length % sizes[mesh_axis] == 0


PLANNED = json.loads(lvm.RECOMMENDED.read_text())["rows"]
FITTING = [row for row in PLANNED if "problem" not in row]


def on_topology(row, overrides=()):
    path = f"{ROOT}/experiments/lvm.py:size={row['size']},topology={row['topology']}"
    return transformer_experiment.build_experiment(load_experiment(path, overrides))


def test_every_size_is_planned_for_every_topology():
    pairs = [(row["size"], row["topology"]) for row in PLANNED]
    names = {name for _, name in pairs}
    assert len({*pairs}) == len(pairs) == len(lvm.SIZES) * len(names)
    assert {"v3-512", "v4-256", "v5e-256", "v5p-128", "v5p-512", "v6e-256", "h200:64"} <= names
    # Nothing is recommended that leaves no room.
    assert all(row["memory_share"] <= 1 for row in FITTING)


@pytest.mark.parametrize("topology", sorted({row["topology"] for row in PLANNED}))
def test_what_is_planned_divides_on_its_topology(topology):
    described = topologies.parse(topology)
    devices = hardware.fake_devices(described)
    for row in FITTING:
        if row["topology"] == topology:
            experiment = on_topology(row)
            # Refuses parameters, rows and lengths that do not divide.
            mesh = transformer_job.make_mesh(experiment, devices)
            assert mesh.size == described.num_devices, row
            assert dict(mesh.shape) == row["mesh"]
            assert experiment.batch_size * experiment.data.context == 2**21
            assert experiment.model.remat == row["remat"]


def test_compilers_need_what_was_estimated():
    """Searches rely on it: what is estimated too low is compiled in vain."""
    rows = json.loads((ROOT / "experiments" / "results" / "plans.json").read_text())["plans"]
    compiled = [row for row in rows if row["method"] == "compiled" and row["fits"]]
    assert len(compiled) > 5
    for row in compiled:
        sizes = tuple(row["mesh"].values())
        guess = estimate.memory(on_topology(row), sizes, topologies.parse(row["topology"]))
        assert 0.85 < guess.total / 2**30 / row["memory_gib"] < 1.2, row


def test_a_topology_has_all_its_names_and_overrides_win():
    row = next(row for row in FITTING if (row["size"], row["topology"]) == ("3b", "v3-512"))
    assert on_topology(row) == on_topology({**row, "topology": "v3:16x16"})
    changed = on_topology(row, [("mesh.fsdp", "8"), ("model.remat", "full")])
    assert (changed.mesh.fsdp, changed.mesh.data) == (8, row["mesh"]["data"])
    assert changed.model.remat == "full"


def test_a_topology_that_is_not_planned_or_too_small_says_which_is():
    known = re.escape(", ".join(dict.fromkeys(row["topology"] for row in PLANNED)))
    for name in ("v9-4", "v5e-16"):
        with pytest.raises(ValueError, match=f"topology={name} must be one of {known}"):
            on_topology({"size": "3b", "topology": name})
    least = min((row for row in FITTING if row["size"] == "30b"), key=lambda row: row["chips"])
    problem = rf"topology=h100:8: size=30b needs .* GiB of a device; .* runs is {least['topology']}"
    with pytest.raises(ValueError, match=problem):
        on_topology({"size": "30b", "topology": "h100:8"})
    with pytest.raises(ValueError, match="original=True is of no topology"):
        load_experiment(f"{ROOT}/experiments/lvm.py:size=7b,original=True,topology=v3-512")


@pytest.mark.parametrize(("name", "argument"), VARIANTS.items())
def test_arguments_change_the_config(name, argument):
    path = ROOT / "experiments" / f"{name}.py"
    assert load_experiment(f"{path}:{argument}") != VALUES[name]
    with pytest.raises(ValueError, match="'nonsense=1' is not known"):
        load_experiment(f"{path}:nonsense=1")


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_an_unknown_key_is_refused_by_name(name):
    path = next(str(path) for path in FILES if path.stem == name)
    with pytest.raises(ValueError, match=r"config\.loop\.num_stepz=5; did you mean .*num_steps"):
        transformer_experiment.build_experiment(load_experiment(path, [("loop.num_stepz", "5")]))


def test_overrides_are_typed_and_may_name_what_the_experiment_left_out():
    path = str(ROOT / "experiments" / "debug.py")
    overrides = [
        ("mesh.fsdp", "2"),
        ("optimizer.peak_lr", "1e-3"),
        ("model.preset", "100m"),
        ("loop.tensorboard", "true"),
        ("loop.num_steps", "2 epochs"),
    ]
    experiment = transformer_experiment.build_experiment(load_experiment(path, overrides))
    assert experiment.mesh.fsdp == 2
    assert experiment.optimizer.peak_lr == 1e-3
    assert experiment.model.num_layers == 22
    assert experiment.loop.tensorboard is True
    assert experiment.loop.num_steps == "2 epochs"
    with pytest.raises(ValueError, match=r"--config\.model=3: model is a section"):
        load_experiment(path, [("model", "3")])


def test_a_missing_file_names_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean experiments/debug\.py"):
        load_experiment("experiments/debugg.py")


def test_configs_come_back_from_json():
    for name in TRANSFORMERS:
        experiment = transformer_experiment.build_experiment(VALUES[name])
        assert configs.build(type(experiment), configs.to_dict(experiment)) == experiment
