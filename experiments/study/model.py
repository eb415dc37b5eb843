"""A transformer of the study: four sizes, four mixtures of one corpus, one epoch.

    python tools/train.py --workdir=runs/study/runs/all_s_c0.64_seed0 \
        --config=experiments/study/model.py:size=s,mixture=all,c=0.64,seed=0

`tools/study.py` makes all of these runs, and docs/study_plan.md says what for. A layer has 12
width^2 weights; the peak of the learning rate is c / width, with one c for all sizes. Smaller
mixtures repeat until they have had as many rows as `all` has in an epoch: tools/study.py counts
these and gives them as steps=N. Runs of one seed see the same rows in the same order.

Hardware: one CPU core each; two runs on a core each are faster than one on both.
Duration: of ten million ids 10 (xs), 15 (s), 35 (m) and 80 (l) minutes of a core of their own.
Expected result: see docs/study.md.
Arguments: size=xs|s|m|l, mixture=video|annotations|both|all, c=0.64, seed=0, root=runs/study,
few=1 (N: the shards of which corpus.py keeps one annotated sentence of N), packing=sentence|stream,
steps=0 (0: one epoch), codes=512.
"""

import math

from ml_collections import ConfigDict

from experiments import common
from experiments.study import corpus

# Width, layers: 0.3, 0.7, 2.0 and 5.0 million parameters with embedding and head.
SIZES = {"xs": (64, 4), "s": (96, 5), "m": (160, 6), "l": (256, 6)}
HEAD_DIM = 32
# Sixteen images of 64 ids with BOS and EOS are 1,026; sixteen single ones, 66 each, are 1,056.
CONTEXT = 1056
BATCH_SIZE = 8


def model(size: str, codes: int) -> dict:
    """The sizes of a transformer.

    Matrices begin with a deviation of sqrt(2 / (5 width)) (Nguyen and Salazar 2019), since the 0.02
    of large models would leave narrow ones near zero; the base of the rotary frequencies is about
    the context, beyond which a head of 32 has no use for wavelengths.
    """
    width, layers = SIZES[size]
    return {
        "vocabulary": {"num_codes": codes},
        "hidden_dim": width,
        "mlp_dim": 16 * math.ceil(8 * width / 3 / 16),
        "num_heads": width // HEAD_DIM,
        "num_layers": layers,
        "context": CONTEXT,
        "rope_theta": 1000.0,
        "init_scale": math.sqrt(0.4 / width),
        "dtype": "float32",
        "remat": "dots",
    }


def of_sources(mixture: str) -> dict:
    """The sentences of a mixture, packed together as those of one corpus."""
    return {mixture: {"sources": corpus.sources_of(mixture)}}


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(
        arg,
        **{"size": "s", "mixture": "all", "c": 0.64, "seed": 0, "few": 1, "packing": "sentence"},
        **{"root": "runs/study", "steps": 0, "codes": 512},
    )
    size = common.require_one_of(SIZES, size=values["size"])
    shards = f"{values['root']}/shards"
    trained = "all" if values["few"] == 1 else f"few{values['few']}"
    peak_lr = values["c"] / SIZES[size][0]
    return ConfigDict(
        {
            "seed": values["seed"],
            "batch_size": BATCH_SIZE,
            "data": {
                "shards": f"{shards}/{trained}/train",
                "mixture": of_sources(values["mixture"]),
                "context": CONTEXT,
                "packing": values["packing"],
            },
            # Always of everything that is trained somewhere, so that losses can be compared.
            "eval_data": {
                "shards": f"{shards}/all/held_out",
                "mixture": of_sources("all"),
                "context": CONTEXT,
            },
            "eval_batches": 128,
            "model": model(size, values["codes"]),
            "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
            "optimizer": {"peak_lr": peak_lr, "end_lr": peak_lr / 10, "warmup_steps": "5%"},
            "loop": {
                "num_steps": values["steps"] or "1 epoch",
                "log_every": 1,
                "checkpoint_every": "2 min",
            },
        }
    )
