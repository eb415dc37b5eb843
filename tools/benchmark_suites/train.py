"""The train step's speed: the step that tools/train.py runs, on one batch of full rows."""

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
from lvm_jax.partition import batch_sharding, check_batch
from lvm_jax.training.loop import LoopConfig
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.transformer import transformer_experiment, transformer_job

OPTIMIZER = OptimizerConfig(warmup_steps=10, decay_steps=1000)


def run(
    config: TransformerConfig,
    *,
    batch_size: int,
    context: int,
    warmup: int,
    repeats: int,
    against: str | None = None,
    mesh: MeshConfig | None = None,
) -> list[dict[str, Any]]:
    """Measures train steps.

    Args:
        config: the model.
        batch_size: rows; must divide over the mesh's data and fsdp axes.
        context: ids per row; each row is one sentence.
        warmup: steps before the measurement.
        repeats: steps measured, one by one.
        against: "hf" measures transformers too, a step of each in turn.
        mesh: axis sizes; by default all devices on fsdp.

    Returns:
        A row per contestant, see `timing.rows`; ours has compile_seconds, and mfu where the
        device's peak is known.
    """
    step, compile_seconds, ids = _our_step(config, batch_size, context, mesh or MeshConfig())
    cases = {"lvm_jax": step}
    if against == "hf":
        cases["hf"] = hf.train_step(config, ids)
    times = timing.interleave(cases, warmup=warmup, repeats=repeats)
    tokens = batch_size * context
    rows = timing.rows(times, tokens, reference=against)
    work = flops.train_flops_per_token(config, context) * rows[0]["tokens_per_second"]
    rows[0]["compile_seconds"] = compile_seconds
    rows[0]["tflops_per_second"] = work / 1e12
    rows[0]["mfu"] = devices.utilization(work, jax.devices()[0].device_kind, jax.device_count())
    return rows


def _our_step(
    config: TransformerConfig, batch_size: int, context: int, mesh_config: MeshConfig
) -> tuple[Callable[[], None], float, np.ndarray]:
    """A function that makes one update and waits for it, its compile time, and the ids."""
    mesh = make_mesh(mesh_config)
    check_batch(mesh, batch_size, "batch")
    training = transformer_job.make_training(_experiment(config, batch_size, context), mesh)
    ids = np.random.default_rng(0).integers(0, config.vocabulary.num_codes, (batch_size, context))
    ids = ids.astype(np.int32)
    batch = {
        "inputs": ids,
        "targets": np.roll(ids, -1, axis=1),
        "segments": np.ones_like(ids),
        "positions": np.broadcast_to(np.arange(context, dtype=np.int32), ids.shape),
        "weights": np.ones(ids.shape, np.float32),
    }
    batch = jax.device_put(batch, batch_sharding(mesh))
    begun = time.perf_counter()
    compiled = training.trace().lower().compile()
    compile_seconds = time.perf_counter() - begun
    state = {"now": training.init_state()}

    def update() -> None:
        state["now"], metrics = compiled(state["now"], batch)
        jax.block_until_ready((state["now"], metrics))

    return update, compile_seconds, ids


def _experiment(
    config: TransformerConfig, batch_size: int, context: int
) -> transformer_experiment.TransformerExperiment:
    """What is measured as an experiment, whose data nobody opens."""
    return transformer_experiment.TransformerExperiment(
        batch_size=batch_size,
        data=DataConfig(shards="none", context=context),
        model=config,
        optimizer=OPTIMIZER,
        loop=LoopConfig(num_steps=1000),
    )
