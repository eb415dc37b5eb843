"""LVM 3B (Bai et al. 2023, Table 2), the paper's largest, one epoch of 420B tokens.

    python tools/train.py --config=experiments/lvm_3b.py --workdir=/runs/lvm_3b \
        --config.data.shards=/shards/train --config.eval_data.shards=/shards/held_out

on every host of the slice, with /runs and /shards shared; JAX finds the others by itself.

Hardware: a TPU slice of 128 chips with 95 GB each (v5p). Its width, 3,200, divides by 128 and not
by 256: on more than 128 devices raise mesh.data.
Duration: 420B tokens are 9.0e21 FLOPs, about 3.6 days at 50% of 128 x 459 TFLOP/s; computed, not
measured.
Expected result: the paper's curve for this size ends at a loss of about 5.1 nats per token (read
off its Figure 3, with its own data and tokenizer). Not reproduced here.
Batch size and learning rate are ours: the paper gives neither; its batch is said to be ~2M tokens.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    del arg
    return ConfigDict(
        {
            "seed": 0,
            "batch_size": 512,
            "data": {"shards": "shards/train", "context": 4096},
            "eval_data": {"shards": "shards/held_out", "context": 4096},
            "model": {"preset": "3b"},
            "mesh": {"data": -1, "fsdp": 64, "tensor": 1},
            "distributed": {"mode": "auto"},
            "optimizer": {"peak_lr": 1.5e-4, "end_lr": 3e-5, "warmup_steps": 2000},
            "loop": {
                "num_steps": "1 epoch",
                "log_every": 10,
                "checkpoint_every": 1000,
                "eval_every": 2000,
                "tensorboard": True,
            },
        }
    )
