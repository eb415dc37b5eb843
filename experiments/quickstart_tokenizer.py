"""The quick-start's tokenizer: 48-pixel images as 36 ids, trained on two CPU cores.

    python tools/prepare_pictures.py --out=runs/quickstart/pictures
    python tools/train_tokenizer.py --config=experiments/quickstart_tokenizer.py \
        --workdir=runs/quickstart/tokenizer

Hardware: two CPU cores, 0.8 GB of memory. Duration: a minute and a half, compilation included.
Expected result: on held-out pictures, gray, holed and edge versions among them, a PSNR of 19.9 dB
and over 99% of the 256 codes in use (perplexity 196). It trains without a discriminator: the time
goes to the reconstruction.
Arguments: size=full|smallest, root=runs/quickstart.
"""

from ml_collections import ConfigDict

from experiments import common, quickstart_sentences

# All but the pictures and how often things are done; own_images.py takes it too.
RECIPE = {
    "seed": 0,
    "batch_size": 16,
    "eval_images": 120,
    "tokenizer": {"preset": "quickstart"},
    "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
    "training": {
        "reconstruction": "l2",
        "codebook": "ema",
        "restart_after": 50,
        "ema_decay": 0.99,
        "generator_weight": 0.0,
    },
    "optimizer": {"peak_lr": 2e-3, "end_lr": 4e-5, "warmup_steps": "4%"},
}


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(arg, size="full", root="runs/quickstart")
    smallest = common.is_smallest(values["size"])
    root = values["root"]
    return ConfigDict(
        {
            **RECIPE,
            "corpus": {"seed": 1, "sources": sources(root, "train", 50 if smallest else 1000)},
            "eval_corpus": {"seed": 1, "sources": sources(root, "held_out", 24)},
            "loop": {
                "num_steps": 4 if smallest else 1600,
                "log_every": 2 if smallest else 20,
                "checkpoint_every": 2 if smallest else 400,
                "eval_every": 0 if smallest else 400,
            },
        }
    )


def sources(root: str, split: str, each: int) -> dict[str, dict]:
    """Single pictures and the images of every task, so that all of them can be reconstructed."""
    tasks = quickstart_sentences.tasks(root, split)
    for source in tasks.values():
        source |= {"pairs_per_sentence": 1, "sentences_per_epoch": each // 2}
    tasks["single"] = {
        "kind": "single",
        "folder": f"{root}/pictures/{split}",
        "crop": (0.3, 1.0),
        "flip": True,
        "sentences_per_epoch": each,
    }
    return tasks
