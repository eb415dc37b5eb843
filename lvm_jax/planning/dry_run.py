"""A training up to its first step, which is not taken: what would run, where, on which rows.

Unlike a plan it needs the data, and it may be of the devices that are here.
"""

import collections
import time
from collections.abc import Iterator

import numpy as np

from lvm_jax import devices as devices_lib
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.planning import compiling, plan, text_report
from lvm_jax.planning.compiling import Step
from lvm_jax.training import durations
from lvm_jax.training.transformer.transformer_job import Prepared

_IDS_SHOWN = 8


def lines(prepared: Prepared, missing: str = "") -> Iterator[str]:
    """What to print, line by line, as it comes to be known.

    Args:
        prepared: from `transformer_job.prepare`.
        missing: why the step cannot be compiled, as `hardware.missing_compiler` says; else what
            memory it takes is found by compiling it.
    """
    yield from prepared.training.summary
    yield from _length(prepared)
    yield from _first_batch(prepared.source)
    if missing:
        yield f"memory: not known, {missing}"
    else:
        yield "compiling the step"
        yield from _memory(prepared)
    yield "dry run: nothing was trained, no workdir was made"


def _length(prepared: Prepared) -> Iterator[str]:
    experiment = prepared.experiment
    num_steps = durations.resolved(experiment.loop.num_steps)
    tokens = num_steps * experiment.batch_size * experiment.data.context
    epochs = prepared.source.epochs(num_steps)
    shown = ", ".join(f"{number:.2f} of {name}" for name, number in epochs.items())
    yield f"run: {num_steps:,} steps, {tokens:,} ids; epochs: {shown}"
    every = experiment.loop.checkpoint_every
    unit = "" if isinstance(every, str) else " steps"
    yield f"checkpoints: {f'every {every}{unit}' if every else 'at the end'}"


def _first_batch(source: Pipeline) -> Iterator[str]:
    before = time.monotonic()
    batches = source.iterate(0)
    try:
        batch = next(batches)
    finally:
        batches.close()
    rows, context = batch["inputs"].shape
    sentences = int(np.max(batch["segments"], axis=1).sum())
    padding = float(np.mean(batch["segments"] == 0))
    seconds = time.monotonic() - before
    yield (
        f"first batch: {rows} rows of {context:,} ids, {sentences} sentences, {padding:.1%} "
        f"padding, {int(batch['weights'].sum()):,} targets with loss; read in {seconds:.1f} s"
    )
    counts = collections.Counter(batch["kinds"][batch["segments"] > 0].tolist())
    total = sum(counts.values())
    shares = ", ".join(
        f"{source.kinds[number]} {count / total:.1%}" for number, count in counts.most_common()
    )
    yield f"  kinds: {shares}"
    yield f"  first row: {_ids(batch['inputs'][0])} -> {_ids(batch['targets'][0])}"


def _ids(ids_L: np.ndarray) -> str:
    more = ", ..." if len(ids_L) > _IDS_SHOWN else ""
    return f"[{', '.join(map(str, ids_L[:_IDS_SHOWN]))}{more}]"


def _memory(prepared: Prepared) -> Iterator[str]:
    before = time.monotonic()
    traced = prepared.training.trace()
    seconds = time.monotonic() - before
    step = Step(mesh=prepared.mesh, training=prepared.training, traced=traced, seconds=seconds)
    compiled = compiling.compile_step(step, traced.lower())
    device = prepared.mesh.devices.flat[0]
    if compiled.memory is None:
        yield f"memory of a {device.device_kind}: DOES NOT FIT; the compiler: {compiled.problem}"
        return
    peak = devices_lib.device_peak(device.device_kind)
    capacity = 0 if peak is None else int(peak.memory)
    use = plan.memory_use(compiled.memory, capacity, device.platform)
    yield text_report.memory(use, device.device_kind)
    yield f"compiled in {compiled.seconds:.1f} s"
