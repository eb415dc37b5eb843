"""A training of four numbers, for what the loop does with any training."""

import jax
import jax.numpy as jnp
import numpy as np

from lvm_jax.training import loop, metrics, speed
from lvm_jax.training import workdir as workdir_lib
from lvm_jax.training.training import Training
from lvm_jax.training.workdir import RunIdentity

RESOLVED = {"model": {"dim": 4}, "seed": 0, "data_fingerprint": "a"}


@jax.jit
def init_state():
    return {"params": {"w": jnp.ones((4,))}, "moments": (jnp.zeros(4),), "step": jnp.int32(0)}


def step_function(state, batch):
    w, moment = state["params"]["w"], state["moments"][0]
    loss = jnp.mean((w - batch) ** 2)
    moment = 0.9 * moment + (w - batch)
    new = {"params": {"w": w - 0.1 * moment}, "moments": (moment,), "step": state["step"] + 1}
    return new, {"loss": loss}


train_step = jax.jit(step_function, donate_argnums=0)


def batches(start):
    step = start
    while True:
        yield np.random.default_rng(step).normal(size=4).astype(np.float32)
        step += 1


WORK = speed.Work(unit="images", units_per_step=2)


def identify(resolved=RESOLVED):
    return RunIdentity(resolved=resolved, fixed=("model", "seed"), data=("data_fingerprint",))


def run(
    workdir,
    num_steps=12,
    *,
    config=None,
    resolved=RESOLVED,
    step=train_step,
    source=batches,
    work=WORK,
    **parts,
):
    """Runs the toy training, or one with other parts."""
    config = {"log_every": 1, "checkpoint_every": 5, **(config or {})}
    training = Training(
        init_state=init_state,
        step=step,
        abstract_batch=jax.ShapeDtypeStruct((4,), jnp.float32),
        work=work,
        batches=source,
        **parts,
    )
    config = loop.LoopConfig(num_steps=num_steps, **config)
    return loop.run(config, workdir, identify(resolved), training)


def losses(workdir):
    return [
        (line["step"], line["train/loss"])
        for line in metrics.read_metrics(workdir)
        if "train/loss" in line
    ]


def steps_on_disk(workdir):
    return sorted(workdir_lib.steps(workdir))
