"""LVM 7B by the recipe in LVM's README, with the schedule counting updates.

    python tools/train.py --config=experiments/lvm_7b.py --workdir=/runs/lvm_7b \
        --config.data.shards=/shards/train

The README asks for 400k micro-steps of 32 rows, 4 to an update: 100k updates of 128 rows, 52B
tokens. Its warm-up of 8,000 and decay of 288,000 are passed as micro-steps but counted as updates,
so that the run ends at a learning rate of 1.21e-4, not 3e-5. Here both are divided by 4 and reach
their end. The argument original=True keeps the README's numbers as they act.

Hardware: a TPU slice of 32 chips with 95 GB each (v5p).
Duration: 52B tokens are 2.2e21 FLOPs, about 3.5 days at 50% of 32 x 459 TFLOP/s; computed, not
measured.
Expected result: none is published for this recipe.
"""

from ml_collections import ConfigDict

from experiments import common


def get_config(arg: str = "") -> ConfigDict:
    original = common.parse_arg(arg, original=False)["original"]
    micro_steps = 1 if original else 4
    return ConfigDict(
        {
            "seed": 0,
            "batch_size": 128,
            "accumulation": 4,
            "data": {"shards": "shards/train", "context": 4096, "packing": "stream"},
            "model": {"preset": "7b"},
            "mesh": {"data": 1, "fsdp": -1, "tensor": 1},
            "distributed": {"mode": "auto"},
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
    )
