"""The train step's speed: the step that tools/train.py runs, on one batch."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmark_suites import hf, timing
from lvm_jax import devices
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.model import flops
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.partition import check_batch
from lvm_jax.training.loop import LoopConfig
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.transformer import transformer_experiment, transformer_job
from lvm_jax.training.transformer.batch import place, random_batch

OPTIMIZER = OptimizerConfig(warmup_steps=10, decay_steps=1000)


def run(
    config: TransformerConfig,
    *,
    batch_size: int,
    context: int,
    warmup: int,
    repeats: int,
    packed: bool = False,
    loss_chunks: int = 1,
    against: str | None = None,
    mesh: MeshConfig | None = None,
) -> list[dict[str, Any]]:
    """Measures train steps.

    Args:
        config: the model.
        batch_size: rows; must divide over the mesh's data and fsdp axes.
        context: ids per row.
        warmup: steps before the measurement.
        repeats: steps measured, one by one.
        packed: rows hold several sentences and end in padding; the rival sees whole ones.
        loss_chunks: see `TransformerExperiment`.
        against: "hf" measures transformers too, a step of each in turn.
        mesh: axis sizes; by default all devices on fsdp.

    Returns:
        A row per contestant, see `timing.rows`; ours has compile_seconds, what the compiler set
        aside and what was in use of a device's memory, and mfu where the device's peak is known.
    """
    experiment = transformer_experiment.TransformerExperiment(
        batch_size=batch_size,
        loss_chunks=loss_chunks,
        data=DataConfig(shards="none", context=context),
        model=config,
        optimizer=OPTIMIZER,
        loop=LoopConfig(num_steps=1000),
    )
    step, about, batch = _our_step(experiment, mesh or MeshConfig(), packed)
    cases = {"lvm_jax": step}
    if against == "hf":
        cases["hf"] = hf.train_step(config, batch["inputs"])
    times = timing.interleave(cases, warmup=warmup, repeats=repeats)
    tokens = batch_size * context
    rows = timing.rows(times, tokens, reference=against)
    work = flops.train_flops_per_token(config, context) * rows[0]["tokens_per_second"]
    device = jax.devices()[0]
    rows[0] |= about
    rows[0]["peak_bytes"] = (device.memory_stats() or {}).get("peak_bytes_in_use")
    rows[0]["tflops_per_second"] = work / 1e12
    rows[0]["mfu"] = devices.utilization(work, device.device_kind, jax.device_count())
    return rows


def _our_step(
    experiment: transformer_experiment.TransformerExperiment, config: MeshConfig, packed: bool
) -> tuple[Callable[[], None], dict[str, Any], dict[str, np.ndarray]]:
    """A function that makes one update and waits for it, what compiling it said, and the batch."""
    mesh = make_mesh(config)
    check_batch(mesh, experiment.batch_size, "batch")
    training = transformer_job.make_training(experiment, mesh)
    shape = experiment.batch_size, experiment.data.context
    batch = random_batch(experiment.model.vocabulary.num_codes, *shape, packed=packed)
    placed = place(batch, training.abstract_batch)
    begun = time.perf_counter()
    compiled = training.trace().lower().compile()
    about: dict[str, Any] = {"compile_seconds": time.perf_counter() - begun}
    memory = compiled.memory_analysis()
    if memory is not None:
        about["planned_bytes"] = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    state = {"now": training.init_state()}

    def update() -> None:
        state["now"], metrics = compiled(state["now"], placed)
        jax.block_until_ready((state["now"], metrics))

    return update, about, batch
