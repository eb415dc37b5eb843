"""Collectives of compiled steps: what is found adds up to the sizes of the kernels.

The texts in hlo/ are of one model on several machines, see hlo/make_texts.py.
"""

import collections
import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.planning import collectives
from lvm_jax.planning.collectives import find, summary, total_bytes
from tests.planning.hlo import make_texts
from tests.planning.hlo.make_texts import MODEL

LAYERS = MODEL.num_layers
MATRICES = LAYERS * MODEL.matrix_parameters_per_layer
ATTENTION = LAYERS * 2 * MODEL.hidden_dim * MODEL.head_dim * (MODEL.num_heads + MODEL.kv_heads)
TABLE = MODEL.vocabulary.padded_size * MODEL.hidden_dim
BF16, FLOAT32 = 2, 4


def stored(name, sizes):
    text = (pathlib.Path(make_texts.HERE) / f"{name}.txt").read_text()
    mesh = dict(zip(("data", "fsdp", "tensor"), sizes))
    return find(text, mesh, int(np.prod(sizes)))


def moved(found, *, inside="", **fields):
    """Bytes of those that have these fields, and whose source has these words."""
    return sum(
        one.bytes
        for one in found
        if inside in one.source and all(getattr(one, k) == v for k, v in fields.items())
    )


@pytest.fixture(scope="module")
def tpu():
    return stored("tpu_v5e_4x4x1", (4, 4, 1))


@pytest.fixture(scope="module")
def whole_slice():
    return stored("tpu_v5e_1x16x1", (1, 16, 1))


@pytest.fixture(scope="module")
def gpu():
    return stored("gpu_h100_2x8x1", (2, 8, 1))


def test_a_tpu_gathers_each_kernel_once_forward_and_all_but_attention_once_backward(tpu):
    gather = {"kind": "all-gather", "axes": ("fsdp",)}
    assert moved(tpu, inside="/jvp()/while", **gather) == BF16 * MATRICES
    # Attention's kernels serve the recomputation and the gradients, and are gathered for each.
    assert moved(tpu, inside="transpose(jvp())/while", **gather) == BF16 * (MATRICES + ATTENTION)
    # The embedding's table and the head, once.
    assert moved(tpu, **gather) == BF16 * (2 * MATRICES + ATTENTION + 2 * TABLE)


def test_a_tpus_reduce_scatters_are_found_in_fusions(tpu):
    scattered = moved(tpu, kind="reduce-scatter", form="fusion", axes=("fsdp",))
    assert scattered == FLOAT32 * (MATRICES + TABLE)
    # What is left on a device is summed over the other axis.
    assert moved(tpu, kind="all-reduce", axes=("data",)) == scattered // 4


def test_no_activation_is_gathered_over_fsdp(tpu):
    """Every gather's result is a kernel."""
    hidden, width = MODEL.hidden_dim, MODEL.num_heads * MODEL.head_dim
    kernels = {hidden * width, hidden * width // 2, hidden * MODEL.mlp_dim, TABLE}
    for one in tpu:
        if one.kind == "all-gather":
            assert one.bytes / one.count / BF16 in kernels, one


def test_a_gpu_gathers_each_kernel_once_a_pass_in_operations_of_several_arrays(gpu):
    gathered = moved(gpu, kind="all-gather", axes=("fsdp",))
    # The head is gathered for both passes together; the embedding sends ids to its parts instead.
    ids = 4 * 2 * 8 * MODEL.context
    assert gathered == BF16 * (2 * MATRICES + TABLE) + ids


def test_a_gpu_scatters_each_gradient_once(gpu):
    # The embedding's gradient is summed in the compute dtype.
    scattered = moved(gpu, kind="reduce-scatter", axes=("fsdp",))
    assert scattered == FLOAT32 * (MATRICES + TABLE) + BF16 * TABLE
    assert moved(gpu, kind="all-reduce", axes=("data",)) == scattered // 8


def test_a_gather_as_a_loop_of_permutes_moves_what_a_gather_does(whole_slice):
    windowed = {"kind": "collective-permute", "form": "windowed all-gather"}
    assert moved(whole_slice, inside="/jvp()/while", **windowed) == BF16 * MATRICES
    # Over the whole slice this compiler sums gradients whole.
    assert moved(whole_slice, kind="all-reduce", axes=("fsdp",)) >= FLOAT32 * MATRICES


def test_an_asynchronous_gather_beside_a_loop_runs_once(whole_slice):
    """The head's: fusions in the loop over the layers repeat it with its channel."""
    heads = [
        one
        for one in whole_slice
        if one.kind == "all-gather" and one.bytes / one.count == BF16 * TABLE
    ]
    assert [one.count for one in heads] == [1]


def test_tensor_parallel_collectives_have_their_axis():
    found = stored("gpu_h100_1x4x2", (1, 4, 2))
    # Each device gathers its half of every kernel.
    forward = moved(found, kind="all-gather", axes=("fsdp",), inside="/jvp()/while")
    assert forward == BF16 * MATRICES // 2
    stream = 2 * MODEL.context * MODEL.hidden_dim * BF16
    halves = moved(found, kind="all-reduce", axes=("tensor",), inside="/jvp()/while")
    assert halves == 2 * LAYERS * stream
    assert {one.axes for one in found} <= {("fsdp",), ("tensor",), ("fsdp", "tensor")}


@pytest.fixture(scope="module")
def on_cpu():
    """The debug step on eight CPU devices, wider than long so that no kernel is an activation."""
    config = dataclasses.replace(PRESETS["debug"], hidden_dim=64, mlp_dim=96, context=32)
    text = make_texts.compile_text(config, jax.devices(), (2, 4, 1))
    mesh = {"data": 2, "fsdp": 4, "context": 1, "tensor": 1}
    return config, find(text, mesh, 8)


def test_here_each_kernel_is_gathered_once_a_pass_and_its_gradient_summed_once(on_cpu):
    config, found = on_cpu
    matrices = FLOAT32 * config.num_layers * config.matrix_parameters_per_layer
    gather = {"kind": "all-gather", "axes": ("fsdp",)}
    assert moved(found, inside="/jvp()/while", **gather) == matrices
    assert moved(found, inside="transpose(jvp())/while", **gather) == matrices
    # CPU has no reduce-scatter; over data only the own shards are summed.
    reduce = {"kind": "all-reduce", "inside": "transpose(jvp())/while"}
    assert moved(found, axes=("fsdp",), **reduce) == matrices
    assert moved(found, axes=("data",), **reduce) == matrices // 4


def test_here_no_activation_is_gathered_over_fsdp(on_cpu):
    config, found = on_cpu
    width = config.num_heads * config.head_dim
    table = config.vocabulary.padded_size
    outs = (width, config.kv_heads * config.head_dim, config.mlp_dim, table)
    kernels = {FLOAT32 * config.hidden_dim * out for out in outs}
    gathers = [one for one in found if one.kind == "all-gather" and "fsdp" in one.axes]
    assert gathers
    assert {one.bytes // one.count for one in gathers} <= kernels


CONDITIONAL = """%small (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  ROOT %sum.8 = f32[8]{0} all-reduce(%x), replica_groups={{0,1}}, to_apply=%add
}

%large (y: f32[16]) -> f32[16] {
  %y = f32[16]{0} parameter(0)
  ROOT %sum.16 = f32[16]{0} all-reduce(%y), replica_groups={{0,1}}, to_apply=%add
}

ENTRY %main (p: s32[]) -> f32[] {
  %p = s32[] parameter(0)
  ROOT %c = f32[] conditional(%p, %p, %p), branch_computations={%large, %small}
}
"""


def test_a_conditional_counts_its_larger_branch():
    assert [one.bytes for one in find(CONDITIONAL, {"fsdp": 2}, 2)] == [64]


def test_a_summary_adds_up():
    found = stored("gpu_h100_1x4x2", (1, 4, 2))
    lines = summary(found)
    assert total_bytes(lines) == total_bytes(found)
    counts = collections.Counter((one.kind, one.axes, one.group_size) for one in lines)
    assert max(counts.values()) == 1
    assert [one.bytes for one in lines] == sorted((one.bytes for one in lines), reverse=True)


def test_a_mesh_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"'fsdp': 4.* does not have 8 devices"):
        collectives.find("", {"fsdp": 4}, 8)
