"""A training tool of a few numbers, whose processes fail as they are told.

TOY, in the environment, is a JSON object: workdir, index, count, address and num_steps; timeout;
fault, with process, step, where ("batch", "evaluate" or "begin") and kind.
"""

import dataclasses
import json
import os
import pathlib
import resource
import signal
import sys
import time

import cli
import training

TOY = json.loads(os.environ["TOY"])
FAULT = {"process": -1, "step": -1, "where": "", **TOY.get("fault", {})}


def fault(where: str, step: int) -> None:
    if (where, step, TOY["index"]) != (FAULT["where"], FAULT["step"], FAULT["process"]):
        return
    kind = FAULT["kind"]
    while step > 10 and not (pathlib.Path(TOY["workdir"]) / "checkpoints" / "10").exists():
        time.sleep(0.1)
    if kind == "error":
        raise OSError("shard 3 is damaged")
    if kind == "bug":
        raise TypeError("ours")
    if kind == "refusal":
        raise ValueError("no such shards")
    if kind == "exit":
        sys.exit(0)
    if kind == "vanish":
        os._exit(7)
    if kind == "stuck":
        time.sleep(1000)
    if kind == "full":
        size = (pathlib.Path(TOY["workdir"]) / "metrics.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return
    # A signal's name, to the process that was started or, with a minus, to the trainer.
    to = os.getpid() if kind.startswith("-") else os.getppid()
    os.kill(to, signal.Signals[kind.removeprefix("-")])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """None; see TOY."""


def main(options: Options) -> None:
    del options
    from lvm_jax.distributed.distributed_config import DistributedConfig

    mode = "explicit" if TOY["count"] > 1 else "single"
    config = DistributedConfig(
        mode=mode,
        coordinator_address=TOY["address"],
        num_processes=TOY["count"],
        process_id=TOY["index"],
        timeout=TOY.get("timeout", 300.0),
        preemption_notice=TOY.get("preemption_notice", "none"),
    )
    workdir = pathlib.Path(TOY["workdir"])
    with training.one_run(config, workdir):
        train(workdir)


def train(workdir: pathlib.Path) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    from lvm_jax import mesh as mesh_lib
    from lvm_jax.training import loop, speed
    from lvm_jax.training.training import Training
    from lvm_jax.training.workdir import RunIdentity

    fault("begin", 0)
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(data=-1, fsdp=1))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))

    def init():
        return {"params": {"w": jnp.ones(4)}, "step": jnp.int32(0)}

    def step_once(state, batch):
        w = state["params"]["w"]
        new = {"params": {"w": w - 0.1 * (w - batch.mean(0))}, "step": state["step"] + 1}
        return new, {"loss": jnp.mean((w - batch) ** 2)}

    def batches(step):
        while True:
            fault("batch", step)
            time.sleep(0.02)
            rows = np.random.default_rng(step).normal(size=(6, 4)).astype(np.float32)
            yield jax.make_array_from_callback(rows.shape, split, rows.__getitem__)
            step += 1

    def evaluate(state):
        for part in range(TOY.get("eval_batches", 1)):
            total = float(jnp.sum(state["params"]["w"]))  # all processes compute it together
            if part == 0:
                fault("evaluate", int(state["step"]))
            else:
                time.sleep(0.1)
            yield None
        yield "w", total

    config = loop.LoopConfig(
        num_steps=TOY["num_steps"],
        log_every=1,
        checkpoint_every=TOY.get("checkpoint_every", 10),
        eval_every=10,
    )
    resolved = {"model": {"dim": 4}, "seed": TOY.get("seed", 0), "data_fingerprint": "a"}
    training = Training(
        init_state=jax.jit(init, out_shardings=everywhere),
        step=jax.jit(step_once, donate_argnums=0, out_shardings=everywhere),
        abstract_batch=jax.ShapeDtypeStruct((6, 4), jnp.float32, sharding=split),
        batches=batches,
        work=speed.Work(unit="images", units_per_step=6),
        evaluators={"toy": evaluate},
    )
    identity = RunIdentity(resolved=resolved, fixed=("model", "seed"), data=("data_fingerprint",))
    loop.run(config, workdir, identity, training)


if __name__ == "__main__":
    cli.run(main)
