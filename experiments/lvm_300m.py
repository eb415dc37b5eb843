"""LVM 300M (Bai et al. 2023, Table 2) on visual sentences of 16 images, one epoch.

    python tools/train.py --config=experiments/lvm_300m.py --workdir=/runs/lvm_300m \
        --config.data.shards=/shards/train --config.eval_data.shards=/shards/held_out

Hardware: one host with 8 GPUs of 80 GB. Smaller or fewer devices: raise accumulation.
Duration: 420B tokens are 9.4e20 FLOPs, about 3.5 days at 40% of 8 x 989 TFLOP/s; computed, not
measured.
Expected result: the paper's curve for this size ends at a loss of about 5.6 nats per token (read
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
            "accumulation": 4,
            "loss_chunks": 4,
            "data": {"shards": "shards/train", "context": 4096},
            "eval_data": {"shards": "shards/held_out", "context": 4096},
            "model": {"preset": "300m"},
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            "optimizer": {"peak_lr": 3e-4, "end_lr": 3e-5, "warmup_steps": 2000},
            "loop": {
                "num_steps": "1 epoch",
                "log_every": 10,
                "checkpoint_every": 1000,
                "eval_every": 2000,
                "tensorboard": True,
            },
        }
    )
