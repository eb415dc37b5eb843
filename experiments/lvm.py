"""LVM in every size of the paper (Bai et al. 2023, Table 2) and of LVM's repository.

    python tools/train.py --config=experiments/lvm.py:size=3b --workdir=/runs/lvm_3b \
        --config.data.shards=/shards/train --config.eval_data.shards=/shards/held_out

on every host, with /runs and /shards shared; from 3b on JAX finds the others by itself. All sizes
but 7b take one epoch of 420B tokens, visual sentences of 16 images.

7b follows LVM's README, with the schedule counting updates, and has no held-out shards. The README
asks for 400k micro-steps of 32 rows, 4 to an update: 100k updates of 128 rows, 52B tokens. Its
warm-up of 8,000 and decay of 288,000 are passed as micro-steps but counted as updates, so that the
run ends at a learning rate of 1.21e-4, not 3e-5. Here both are divided by 4 and reach their end.
The argument original=True keeps the README's numbers as they act.

Hardware: up to 1b, one host with 8 GPUs of 80 GB, each with all parameters; smaller or fewer
devices: raise accumulation. 7b: a TPU slice of 32 chips with 95 GB each (v5p). 3b and from 13b on:
128 such chips. The width of 3b, 3,200, divides by 128 and not by 256: on more than 128 devices
raise mesh.data.
Duration: FLOPs, and days at 40% of 8 x 989 TFLOP/s up to 1b, else at 50% of 459 TFLOP/s a chip;
computed, not measured.

    100m 4.3e20 1.6    300m 9.4e20 3.5    600m 2.0e21 7.1    1b 3.3e21 12
    3b   9.0e21 3.6    7b   2.2e21 3.5    13b  3.4e22 13     20b 5.5e22 22    30b 8.5e22 34

Expected result: the paper's curves end at a loss of about 5.6 (300m) and 5.1 (3b) nats per token
(read off its Figure 3, with its own data and tokenizer). Not reproduced here. None is published for
the README's recipe.
Batch size and learning rate of the epoch are ours: the paper gives neither; its batch is said to be
~2M tokens. They were chosen for 300m and 3b, and the others have those of the same hardware.
Arguments: size=3b (or another of the above), original=False (of 7b), and

topology=v3-512 (or another of experiments/lvm_topologies.json: v4-256, v5e-256, v5p-512, h100:64,
...) takes mesh, remat policy, micro-batches and loss chunks that were planned for that hardware, at
512 rows; 7b, too, then takes an epoch of such batches. The file says how each was found (compiled
or estimated) and what share of the memory it takes; tools/plan_table.py writes it.
"""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from experiments import common
from lvm_jax.planning import topologies

RECOMMENDED = pathlib.Path(__file__).with_name("lvm_topologies.json")
ON_ONE_HOST = ("100m", "300m", "600m", "1b")
OF_README = "7b"
SIZES = (*ON_ONE_HOST, "3b", OF_README, "13b", "20b", "30b")


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(arg, size="3b", original=False, topology="")
    size, original = common.require_one_of(SIZES, size=values["size"]), values["original"]
    if original and size != OF_README:
        raise ValueError(f"config argument original=True is of size={OF_README}, not of {size}")
    if values["topology"]:
        if original:
            raise ValueError(
                "config argument original=True is of no topology: its rows are too few"
            )
        return ConfigDict({"seed": 0, **one_epoch(size), **on_topology(size, values["topology"])})
    recipe = of_readme(original) if size == OF_README else one_epoch(size)
    return ConfigDict({"seed": 0, "model": {"preset": size}, **recipe})


def on_topology(size: str, name: str) -> dict[str, Any]:
    """What was planned for a size on some hardware.

    Raises:
        ValueError: nothing was planned for it, or the size does not fit it.
    """
    rows = json.loads(RECOMMENDED.read_text())["rows"]
    # v3:16x16 is v3-512.
    known = {topologies.parse(row["topology"]): row["topology"] for row in rows}
    try:
        topology = topologies.parse(name)
    except ValueError:
        topology = None
    if topology not in known:
        common.require_one_of(known.values(), topology=name)
    assert topology is not None
    of_size = {row["topology"]: row for row in rows if row["size"] == size}
    row = of_size.get(known[topology])
    if row is None or "problem" in row:
        fitting = [other for other in of_size.values() if "problem" not in other]
        least = min(fitting, key=lambda other: other["chips"], default=None)
        problem = "was not planned" if row is None else f"needs {row['problem']} of a device"
        raise ValueError(
            f"config argument topology={name}: size={size} {problem}"
            + ("" if least is None else f"; the smallest on which it runs is {least['topology']}")
        )
    one_host = topology.platform == "gpu" and topology.shape[0] == 1
    return {
        "batch_size": row["batch_size"],
        "mesh": row["mesh"],
        "accumulation": row["accumulation"],
        "loss_chunks": row["loss_chunks"],
        "model": {"preset": size, "remat": row["remat"]},
        "distributed": {"mode": "single" if one_host else "auto"},
    }


def one_epoch(size: str) -> dict[str, Any]:
    """Every row once, 2.1M tokens a step."""
    if size in ON_ONE_HOST:
        mesh, peak_lr = {"data": -1, "fsdp": 1, "tensor": 1}, 3e-4
        hardware = {"mesh": mesh, "accumulation": 4, "loss_chunks": 4}
    else:
        mesh, peak_lr = {"data": -1, "fsdp": 64, "tensor": 1}, 1.5e-4
        hardware = {"mesh": mesh, "distributed": {"mode": "auto"}}
    return {
        "batch_size": 512,
        **hardware,
        "data": {"shards": "shards/train", "context": 4096},
        "eval_data": {"shards": "shards/held_out", "context": 4096},
        "optimizer": {"peak_lr": peak_lr, "end_lr": 3e-5, "warmup_steps": 2000},
        "loop": {
            "num_steps": "1 epoch",
            "log_every": 10,
            "checkpoint_every": 1000,
            "eval_every": 2000,
            "tensorboard": True,
        },
    }


def of_readme(original: bool) -> dict[str, Any]:
    """The recipe of LVM's README; `original` counts its schedule as it acts there."""
    micro_steps = 1 if original else 4
    return {
        "batch_size": 128,
        "accumulation": 4,
        "mesh": {"data": -1, "fsdp": -1, "tensor": 1},
        "distributed": {"mode": "auto"},
        "data": {"shards": "shards/train", "context": 4096, "packing": "stream"},
        "optimizer": {
            "peak_lr": 1.5e-4,
            "end_lr": 3e-5,
            "warmup_steps": 8_000 // micro_steps,
            "decay_steps": 288_000 // micro_steps,
        },
        "loop": {
            "num_steps": 100_000,
            "log_every": 10,
            "checkpoint_every": 1000,
            "tensorboard": True,
        },
    }
