"""Every syntax of replica groups, and the mesh axes that they run along."""

import numpy as np
import pytest

from lvm_jax.planning import hlo, replica_groups

SYNTAXES = {
    "{{0,1},{2,3}}": [[0, 1], [2, 3]],
    "[2,2]<=[4]": [[0, 1], [2, 3]],
    "[4,2]<=[2,4]T(1,0)": [[0, 4], [1, 5], [2, 6], [3, 7]],
    "{}": [[0, 1, 2, 3, 4, 5, 6, 7]],
    "mesh['a'=8,'b'=1] {'a'}": [[0, 1, 2, 3, 4, 5, 6, 7]],
    "mesh['a'=4,'b'=2] {'b'}": [[0, 1], [2, 3], [4, 5], [6, 7]],
    # The mesh's devices are 0 4 1 5 2 6 3 7: along a, of size 4, it goes by ones.
    "mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}": [[0, 1, 2, 3], [4, 5, 6, 7]],
    "mesh['a'=2,'b'=2,'c'=2] {'a','c'}": [[0, 1, 4, 5], [2, 3, 6, 7]],
    # The second half of an axis: members that are one apart.
    "mesh['a'=8] {'a':(4)2}": [[0, 1], [2, 3], [4, 5], [6, 7]],
    "mesh['a'=8] {'a':(1)2}": [[0, 4], [1, 5], [2, 6], [3, 7]],
}


@pytest.mark.parametrize("text", SYNTAXES, ids=str)
def test_a_syntax_is_read(text):
    assert replica_groups.parse(text, 8) == SYNTAXES[text]


def line(attributes):
    text = f"ENTRY %main () -> f32[] {{\n  %x = f32[2]{{0}} all-gather(%y), {attributes}\n}}"
    return hlo.parse(text).computations["main"]["x"]


GROUPS = replica_groups.Groups({"data": 2, "fsdp": 4, "tensor": 1}, np.arange(8))


@pytest.mark.parametrize(
    "attributes, axes, members",
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}", ("fsdp",), (0, 1, 2, 3)),
        ("replica_groups=[4,2]<=[2,4]T(1,0), use_global_device_ids=true", ("data",), (0, 4)),
        ("channel_id=1, replica_groups={}, to_apply=%sum", ("data", "fsdp"), tuple(range(8))),
        (
            "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}, dimensions={0}",
            ("fsdp",),
            (0, 1, 2, 3),
        ),
        ("source_target_pairs={{0,1},{1,2},{2,3},{3,0}}", ("fsdp",), (0, 1, 2, 3)),
        ("source_target_pairs={{0,4},{4,0}}", ("data",), (0, 4)),
        ("source_target_pairs={{0,5},{5,0}}", ("data", "fsdp"), tuple(range(8))),
    ],
)
def test_groups_run_along_mesh_axes(attributes, axes, members):
    assert GROUPS.of(line(attributes)) == (axes, members)


def test_devices_that_a_program_numbers_otherwise():
    """Positions in the mesh, whatever the numbers."""
    backwards = replica_groups.Groups({"data": 2, "fsdp": 4}, np.arange(8)[::-1])
    assert backwards.of(line("replica_groups={{0,4},{1,5}}")) == (("data",), (7, 3))
