"""The quick-start's transformer: learns three tasks from pictures on two CPU cores.

    python tools/train.py --config=experiments/quickstart_model.py --workdir=runs/quickstart/model

Hardware: two CPU cores. Duration: five to eight minutes.
Expected result: a loss of about 3.4 nats per id; the README's table has what it can do then.
Arguments: size=full|smallest, root=runs/quickstart.
"""

from ml_collections import ConfigDict

from experiments import common


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(arg, size="full", root="runs/quickstart")
    smallest = common.is_smallest(values["size"])
    return ConfigDict(
        {
            "seed": 0,
            "batch_size": 8,
            "data": {"shards": f"{values['root']}/shards", "context": 288},
            "eval_data": {"shards": f"{values['root']}/held_out_shards", "context": 288},
            "eval_batches": 1 if smallest else 32,
            "model": {"preset": "quickstart"},
            "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
            "optimizer": {
                "peak_lr": 4e-3,
                "end_lr": 1e-4,
                "warmup_steps": "5%",
            },
            "loop": {
                "num_steps": 6 if smallest else 1400,
                "log_every": 2 if smallest else 10,
                "checkpoint_every": 3 if smallest else 300,
                "eval_every": 2 if smallest else 200,
            },
        }
    )
