"""Makes the texts of this directory: HLO of the train step, compiled for hardware that is not here.

    JAX_PLATFORMS=cpu XLA_FLAGS=--xla_gpu_autotune_level=0 python -m tests.planning.hlo.make_texts

with libtpu and jax's CUDA plugin installed beside jax (0.10.2, libtpu 0.0.42.1, jax-cuda12-plugin
0.10.2 made what is here; minutes). Lines that say nothing of collectives or loops are left out:
nine tenths of a text.
"""

import dataclasses
import os
import pathlib
import re
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import AxisType

from lvm_jax import mesh as mesh_lib
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.model.transformer_config import PRESETS, TransformerConfig
from lvm_jax.training.loop import LoopConfig
from lvm_jax.training.training import Training
from lvm_jax.training.transformer import transformer_experiment, transformer_job
from lvm_jax.vocabulary import Vocabulary

HERE = pathlib.Path(__file__).parent
# Sizes that tell kernels apart: q and o 512 x 512, k and v 512 x 256, MLP 512 x 768, head 512 x
# 1024. Attention in plain JAX: it compiles for every platform.
MODEL = dataclasses.replace(
    PRESETS["debug"],
    hidden_dim=512,
    mlp_dim=768,
    num_heads=8,
    num_kv_heads=4,
    num_layers=3,
    context=256,
    dtype="bfloat16",
    remat="full",
    attention="xla",
    vocabulary=Vocabulary(num_codes=1021, num_special=3, pad_multiple=128),
)
WHERE = {"chips_per_host_bounds": (2, 2, 1), "chip_config_name": "default"}
# The fields of a target that the compiler needs, as XLA prints them of an H100 (openxla PR 25919).
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84942979072
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
# Name of the text -> (topology, sizes of data, fsdp, tensor).
CASES = {
    "tpu_v5e_4x4x1": ("v5e:4x4", (4, 4, 1)),
    "tpu_v5e_1x16x1": ("v5e:4x4", (1, 16, 1)),
    "gpu_h100_2x8x1": ("1x2x8", (2, 8, 1)),
    "gpu_h100_1x4x2": ("1x1x8", (1, 4, 2)),
}
_MOVING = r"all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|while|conditional"
_MOVES = re.compile(rf" (?:{_MOVING})(?:-start)?\(| call\(")
# What tells a loop's counter, outside of fusions; and the end of its body.
_COUNTS = re.compile(r"= [su]32\[\]\S* (?:constant|add|copy)\(")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(")


def training(
    config: TransformerConfig, devices, sizes: tuple[int, int, int], **fields: Any
) -> Training:
    """The training of a model on a mesh of data, fsdp and tensor, two rows for each device."""
    data, fsdp, tensor = sizes
    mesh = jax.make_mesh(
        (data, fsdp, 1, tensor),
        mesh_lib.AXES,
        axis_types=(AxisType.Auto,) * len(mesh_lib.AXES),
        devices=devices,
    )
    experiment = transformer_experiment.TransformerExperiment(
        batch_size=2 * data * fsdp,
        data=DataConfig(shards="none", context=config.context),
        model=config,
        loop=LoopConfig(num_steps=100),
        **fields,
    )
    return transformer_job.make_training(transformer_job.resolve(experiment), mesh)


def compile_text(config: TransformerConfig, devices, sizes: tuple[int, int, int]) -> str:
    """Optimised HLO of the step."""
    made = training(config, devices, sizes)
    state = jax.eval_shape(made.init_state)
    return made.step.lower(state, made.abstract_batch).compile().as_text()


def cut(text: str) -> str:
    """What of a text says where data moves, and how often."""
    parts = re.split(r"(?m)^(?=(?:ENTRY )?%?[\w.\-]+ \(.*\) -> .*\{$)", text)[1:]
    computations = {_HEADER.match(part)[2]: part.splitlines() for part in parts}
    calls = lambda line: [
        name for name in re.findall(r"(?:calls|body|condition|to_apply)=%?([\w.\-]+)", line)
    ]
    moving = {
        name for name, lines in computations.items() if any(_MOVES.search(line) for line in lines)
    }
    while True:
        found = {
            name
            for name, lines in computations.items()
            if any(callee in moving for line in lines for callee in calls(line))
        }
        if found <= moving:
            break
        moving |= found
    conditions = set(re.findall(r"condition=%?([\w.\-]+)", text))
    bodies = set(re.findall(r"body=%?([\w.\-]+)", text))
    inside = {c for name in conditions for line in computations[name] for c in calls(line)}
    fused = set(re.findall(r" fusion\(.*?calls=%?([\w.\-]+)", text))
    kept = []
    for name, lines in computations.items():
        if name not in moving | conditions | inside:
            continue
        body = "\n".join(lines[1:])
        needed = set(re.findall(r"while\(%?([\w.\-]+)\)", body))
        for operands in re.findall(r" reduce-scatter(?:-start)?\(([^)]*)\)", body):
            needed |= set(re.findall(r"%([\w.\-]+)", operands))
        kept.append(lines[0])
        for line in lines[1:]:
            own = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) =", line)
            counts = name not in fused and _COUNTS.search(line)
            ends = name in bodies and line.lstrip().startswith("ROOT")
            wanted = name in conditions | inside or counts or ends or _MOVES.search(line)
            if own and (wanted or own[1] in needed or set(calls(line)) & moving):
                kept.append(_short(line))
        kept.append("}\n")
    return "\n".join(kept)


def _short(line: str) -> str:
    trips = re.search(r'"known_trip_count":\{"n":"\d+"\}', line)
    source = re.search(r'op_name="[^"]*"', line) if _MOVES.search(line) else None
    line = re.sub(r", (?:metadata|backend_config)=\{.*$", "", line)
    line += f", metadata={{{source[0]}}}" if source else ""
    return line + (f", backend_config={{{trips[0]}}}" if trips else "")


def main() -> None:
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    for name, (topology, sizes) in CASES.items():
        if name.startswith("gpu"):
            target = {"platform": "cuda", "target_config": H100, "topology": topology}
            described = topologies.get_topology_desc(**target)
        else:
            described = topologies.get_topology_desc(
                topology, "tpu", wrap=(False, False, False), **WHERE
            )
        text = cut(compile_text(MODEL, described.devices, sizes))
        (HERE / f"{name}.txt").write_text(text)
        print(f"{name}: {len(text):,} characters")


if __name__ == "__main__":
    main()
