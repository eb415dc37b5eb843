"""Rules place everything or raise; nothing is placed by default."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from lvm_jax import mesh as mesh_lib
from lvm_jax import partition, trees
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.partition import Rules
from tests import fake_devices, sharding_tables

DEBUG = PRESETS["debug"]


def make_shardings(config, data, fsdp, tensor):
    mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    shapes = transformer.abstract_params(config)
    return partition.shardings(mesh, Rules(), transformer.logical_axes(config), shapes)


@pytest.mark.parametrize(
    "values, axes",
    [
        ({"embed": "tensor"}, ("vocab", "embed")),
        ({"act_embed": "data"}, ("batch", "act_embed")),
        ({"layers": "fsdp"}, ("layers", "embed")),
        ({"mlp": ("fsdp", "tensor")}, ("embed", "mlp")),
    ],
)
def test_colliding_rules_are_refused_when_written(values, axes):
    with pytest.raises(ValueError, match="both use mesh axis") as caught:
        Rules(**values)
    assert str(caught.value).startswith(" and ".join(axes))


def test_a_rule_to_an_unknown_mesh_axis_is_refused():
    with pytest.raises(ValueError, match=r"mlp='model' is not a mesh axis"):
        Rules(mlp="model")


def test_specs_follow_the_rules():
    assert Rules().spec(("embed", "heads", "head_dim")) == PartitionSpec("fsdp", "tensor", None)
    assert Rules().spec(("batch", None)) == PartitionSpec(("data", "fsdp"), None)
    assert Rules().spec(("batch", "length")) == PartitionSpec(("data", "fsdp"), "context")
    assert Rules(embed=None).spec(("vocab", "embed")) == PartitionSpec("tensor", None)


def test_an_axis_without_a_rule_raises():
    with pytest.raises(ValueError, match="no rule for logical axis 'experts'"):
        Rules().spec(("embed", "experts"))


def test_an_unannotated_parameter_raises():
    mesh = make_mesh(MeshConfig())
    with pytest.raises(ValueError, match="a/b has no logical axes"):
        partition.shardings(mesh, Rules(), {"a": {}}, {"a": {"b": jnp.zeros(3)}})
    with pytest.raises(ValueError, match=r"a of shape \(8,\) has logical axes"):
        partition.shardings(mesh, Rules(), {"a": ("vocab", "embed")}, {"a": jnp.zeros(8)})


def test_an_indivisible_dimension_names_everything():
    with pytest.raises(ValueError) as caught:
        make_shardings(DEBUG, 1, 2, 4)
    assert str(caught.value) == (
        "layers/attention/key/kernel dim 2 (kv_heads=2) does not divide over mesh.tensor=4; "
        "nearest mesh that works: mesh.data=2 mesh.fsdp=2 mesh.context=1 mesh.tensor=2"
    )
    make_shardings(DEBUG, 2, 2, 2)  # what the message proposed


@pytest.mark.parametrize("model", ["debug", "quickstart", "100m"])
@pytest.mark.parametrize("num_rows", [8, 4, 24])
@pytest.mark.parametrize("axis", ["tensor", "context"])
def test_a_mesh_that_is_named_is_not_refused_next(model, num_rows, axis):
    config = PRESETS[model]
    needs = (Rules(), transformer.logical_axes(config), transformer.abstract_params(config))
    refused = 0
    for asked in itertools.product((1, 2, 3, 4, 8, 16), repeat=3):
        sizes = MeshConfig(**dict(zip(("data", "fsdp", axis), asked)))
        try:
            partition.make_mesh(sizes, *needs, num_rows=num_rows, row_length=30)
        except ValueError as error:
            refused += 1
            if "num_rows" in str(error):
                continue  # names batches instead
            named = dict(re.findall(r"mesh\.(\w+)=(\d+)", str(error).split("nearest mesh")[1]))
            near = MeshConfig(**{axis: int(size) for axis, size in named.items()})
            partition.make_mesh(near, *needs, num_rows=num_rows, row_length=30)
    assert refused > 100


@pytest.mark.parametrize("size", ["100m", "3b"])
@pytest.mark.parametrize(
    "asked, near",
    [
        # Widths of 640 and 3,200 divide by 128 and no further: data takes the rest.
        ((1, 256, 1, 1), (2, 128, 1, 1)),
        ((1, 512, 1, 1), (4, 128, 1, 1)),
        ((2, 256, 1, 1), (4, 128, 1, 1)),
        # What was asked of context and tensor may stay.
        ((1, 256, 1, 2), (2, 128, 1, 2)),
        ((1, 32, 16, 1), (1, 32, 16, 1)),
    ],
)
def test_advice_prefers_data(size, asked, near):
    model = PRESETS[size]
    needs = (Rules(), transformer.logical_axes(model), transformer.abstract_params(model))
    devices = fake_devices.gpus(math.prod(asked) // 8)
    config = MeshConfig(**dict(zip(mesh_lib.AXES, asked)))
    make = lambda config: partition.make_mesh(
        config, *needs, num_rows=512, row_length=4096, devices=devices
    )
    if asked != near:
        with pytest.raises(ValueError, match=f"nearest .*{mesh_lib.describe(near)}$"):
            make(config)
    assert make(MeshConfig(**dict(zip(mesh_lib.AXES, near)))).devices.shape == near


def test_what_cannot_be_fulfilled_gives_way_to_what_was_asked_before_it():
    even = lambda sizes: sizes[1] % 2 == 0
    never = lambda sizes: False
    assert mesh_lib.nearest((8, 1, 1, 1), 8, [even, never]) == (4, 2, 1, 1)


def test_advice_lets_devices_share_a_row_where_there_are_too_few_rows():
    enough_rows = lambda sizes: 128 % (sizes[0] * sizes[1]) == 0
    assert mesh_lib.nearest((1, 256, 1, 1), 256, [enough_rows]) == (1, 128, 2, 1)


def test_parameters_land_where_the_rules_say():
    shardings = trees.flatten(make_shardings(DEBUG, 2, 2, 2))
    assert shardings.keys() == trees.flatten(transformer.abstract_params(DEBUG)).keys()
    for name, array in trees.flatten(transformer.abstract_params(DEBUG)).items():
        split = array.size // jnp.prod(jnp.array(shardings[name].shard_shape(array.shape)))
        # Every matrix is split over fsdp and tensor; vectors are whole.
        assert split == (1 if name.endswith("scale") else 4), name


def test_initialisation_is_the_same_on_any_mesh():
    seeded = lambda: transformer.init_params(DEBUG, 3)
    alone = jax.jit(seeded)()
    spread = jax.jit(seeded, out_shardings=make_shardings(DEBUG, 2, 2, 2))()
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), alone, spread))


def test_batches_must_divide():
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    partition.check_batch(mesh, 8)
    with pytest.raises(ValueError, match=r"data\.batch=6 must be a multiple of data\*fsdp=4; "):
        partition.check_batch(mesh, 6, "data.batch")
    with pytest.raises(ValueError, match=r"use 4$"):
        partition.check_batch(mesh, 3)
    partition.check_batch(mesh, 24, accumulation=3)
    with pytest.raises(
        ValueError, match=r"accumulation\*data\*fsdp=12; use 12 or 24, or accumulation=1"
    ):
        partition.check_batch(mesh, 20, accumulation=3)
    with pytest.raises(ValueError, match=r"activation dim 0 .batch=6. does not divide"):
        partition.constrain(jnp.zeros((6, 4)), ("batch", None), mesh, Rules())


def test_the_table_lists_every_parameter_and_adds_up():
    shapes = transformer.abstract_params(DEBUG)
    text = partition.table(shapes, make_shardings(DEBUG, 2, 2, 2))
    lines = text.splitlines()
    assert len(lines) == len(trees.flatten(shapes)) + 2
    query = next(line for line in lines if line.startswith("layers/attention/query"))
    assert query.split() == [
        *("layers/attention/query/kernel", "2x32x4x8", "float32"),
        *("(-,", "fsdp,", "tensor,", "-)", "2,048"),
    ]
    per_device = [int(line.split()[-1].replace(",", "")) for line in lines[1:]]
    assert per_device[-1] == sum(per_device[:-1])


@pytest.mark.parametrize("preset", sharding_tables.MESHES)
def test_everything_lies_where_it_did(preset):
    assert sharding_tables.text(preset) == sharding_tables.path(preset).read_text(), (
        "python -m tests.sharding_tables writes the new tables; their diff says what moved"
    )
