"""Weak scaling: a chip's share, and what is not flat."""

import dataclasses

import pytest

from lvm_jax.planning import chips, scaling, topologies
from lvm_jax.planning.plan import Bounds, MemoryUse, Moves, Plan

_NUMBERS = {
    field.name: 1.0 for field in dataclasses.fields(Bounds) if field.name not in ("limit", "cost")
}
BOUNDS = Bounds(**{**_NUMBERS, "limit": "compute", "cost": None})


def plan_on(topology, *, gathered=2**30, summed=2**28, flops_of_chip=5e12, mesh=(4, 16)):
    hardware = topologies.parse(topology)
    moves = [("all-gather", "fsdp", gathered), ("all-reduce", "data", summed)]
    return Plan(
        name="1b",
        topology=topology,
        description="",
        chips=hardware.num_chips,
        devices=hardware.num_devices,
        method="estimated",
        compiler="",
        parameters=1,
        mesh={"data": mesh[0], "fsdp": mesh[1], "context": 1, "tensor": 1},
        remat="full",
        attention="auto",
        dtype="bfloat16",
        batch_size=hardware.num_chips,
        context=4096,
        accumulation=1,
        loss_chunks=1,
        tokens=1e9,
        steps=1,
        memory=MemoryUse(
            arguments=1, temporaries=1, code=0, peak=2, capacity=3, fits=True, problem=""
        ),
        moves=tuple(
            Moves(kind=kind, axes=(axis,), form="plain", count=1, bytes=size, seconds=1.0)
            for kind, axis, size in moves
        ),
        flops={"executed": flops_of_chip * hardware.num_chips},
        bounds=BOUNDS,
        seconds={},
    )


def share_on(topology, **changes):
    return scaling.per_chip(plan_on(topology, **changes))


def test_a_chips_share_of_a_step():
    share = share_on("tpu7x:4x4x4")
    # Two devices of a chip have a memory, and a part of every collective, each.
    assert share.network_bytes == 2 * (2**30 + 2**28)
    assert share.memory_bytes == 2 * chips.chip("TPU7x").peak.bandwidth
    assert (share.tokens, share.flops, share.chips) == (4096, 5e12, 64)
    assert share.mesh == {"data": 4, "fsdp": 16}


def test_what_stays_the_same_is_flat():
    shares = [
        share_on("v5p:4x4x4"),
        share_on("v5p:4x4x8", mesh=(8, 16), summed=2**28 + 2**20),
    ]
    assert scaling.not_flat(shares) == []


@pytest.mark.parametrize(
    "changed, line",
    [
        ({"gathered": 2**31}, "v5p:4x4x8: all-gather over fsdp 2.00 GiB, 1.00 GiB on v5p:4x4x4"),
        ({"flops_of_chip": 6e12}, "v5p:4x4x8: FLOPs 6.00 T, 5.00 T on v5p:4x4x4"),
    ],
)
def test_what_changes_is_named(changed, line):
    assert scaling.not_flat([share_on("v5p:4x4x4"), share_on("v5p:4x4x8", **changed)]) == [line]


def test_a_table_has_a_row_for_each_plan():
    head, *rows = scaling.table([share_on("v5p:4x4x4"), share_on("v5p:4x4x8")]).splitlines()
    assert head.split()[:3] == ["topology", "chips", "mesh"]
    assert rows[0].split() == [
        *("v5p:4x4x4", "64", "data=4", "fsdp=16", "4,096", "5.00", "2,575.11", "1.25")
    ]
    assert rows[1].startswith("v5p:4x4x8    128")
