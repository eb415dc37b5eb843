"""A toy transformer that shows that training works, on any machine.

    python tools/train.py --config=experiments/debug.py --workdir=runs/debug \
        --config.data.shards=DIR

DIR holds shards of a tokenizer with 61 codes and 3 special ids, as the tests make them; for others
add --config.model.vocabulary.num_codes=N.

Hardware: one CPU core. Duration: under a minute, most of it compilation.
Expected result: the loss falls from log(63) = 4.14; on uniformly random ids it stays there.
Arguments: steps=20.
"""

from ml_collections import ConfigDict

from experiments import common


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(arg, steps=20)
    return ConfigDict(
        {
            "seed": 0,
            "batch_size": 8,
            "data": {"shards": "shards", "context": 64},
            "model": {"preset": "debug"},
            "optimizer": {"peak_lr": 1e-2, "end_lr": 1e-3, "warmup_steps": 2},
            "loop": {"num_steps": values["steps"], "log_every": 1, "checkpoint_every": 5},
        }
    )
