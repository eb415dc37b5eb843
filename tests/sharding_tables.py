"""What lies where: tables of parameters and activations of some presets on some meshes, as text.

`python -m tests.sharding_tables` writes them anew into tests/goldens/ after a change of the rules,
whose diff then says what moved.
"""

import pathlib

from lvm_jax import mesh as mesh_lib
from lvm_jax import partition
from lvm_jax.mesh import MeshConfig
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.partition import Rules
from tests import fake_devices

FOLDER = pathlib.Path(__file__).parent / "goldens"
MESHES = {
    "300m": MeshConfig(data=2, fsdp=4),
    "3b": MeshConfig(fsdp=2, context=2, tensor=2),
    "7b": MeshConfig(fsdp=4, tensor=2),
}
ACTIVATIONS = {
    "ids": ("batch", "length"),
    "residual stream": transformer.RESIDUAL,
    "into and out of matrices": transformer.INSIDE,
    "queries": ("batch", "length", "act_heads", "act_head_dim"),
    "keys and values": ("batch", "length", "act_kv_heads", "act_head_dim"),
    "inside SwiGLU": ("batch", "length", "act_mlp"),
    "logits": ("batch", "length", "act_vocab"),
}


def path(preset: str) -> pathlib.Path:
    return FOLDER / f"sharding_{preset}.txt"


def text(preset: str) -> str:
    """The tables of a preset on its mesh."""
    model, rules = PRESETS[preset], Rules()
    mesh = mesh_lib.make_mesh(MESHES[preset], fake_devices.gpus(1))
    shapes = transformer.abstract_params(model)
    placed = partition.shardings(mesh, rules, transformer.logical_axes(model), shapes)
    activations = (
        f"{name}: {', '.join(axes)} -> {partition.spell(rules.spec(axes))}"
        for name, axes in ACTIVATIONS.items()
    )
    table = (line.rstrip() for line in partition.table(shapes, placed).splitlines())
    return "\n".join([f"{preset}, {mesh_lib.summary(mesh)}", *table, "", *activations, ""])


if __name__ == "__main__":
    for name in MESHES:
        path(name).write_text(text(name))
