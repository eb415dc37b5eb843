"""The quick-start's corpus: single images and three tasks from real pictures.

    python tools/prepare_pictures.py --out=runs/quickstart/pictures
    python tools/build_shards.py --config=experiments/quickstart_sentences.py \
        --tokenizer=runs/quickstart/tokenizer/tokenizer --out=runs/quickstart/shards
    python tools/build_shards.py --config=experiments/quickstart_sentences.py:split=held_out \
        --tokenizer=runs/quickstart/tokenizer/tokenizer --out=runs/quickstart/held_out_shards

Hardware: two CPU cores. Duration: about 20 seconds.
Expected result: 4-pair sentences of colorization, inpainting and edges, and single images; held out
the same kinds in the same proportions, a tenth as many.
Arguments: size=full|smallest, root=runs/quickstart, split=train|held_out.
"""

from ml_collections import ConfigDict

from experiments import common

# Pairs of a task sentence; its images fill a row of the transformer exactly.
PAIRS = 4


def tasks(root: str, split: str) -> dict[str, dict]:
    """The three tasks on one split of the pictures, "train" or "held_out".

    The pairs of a sentence are different squares of one picture, so that the examples of a prompt
    show what there is to know about it: its colors, its texture. So each has a square of its own.
    """
    shared = {
        "crop": (0.3, 0.7),
        "flip": True,
        "same_crop": False,
        "pairs_per_sentence": PAIRS,
        "same_picture": True,
    }
    color, both = f"{root}/pictures/{split}/color", f"{root}/pictures/{split}"
    return {
        "colorization": {"kind": "colorization", "folder": color, **shared},
        "inpainting": {"kind": "inpainting", "folder": both, "mask_ratio": 0.15, **shared},
        "edges": {"kind": "edges", "folder": both, "sigma": 2.0, "gain": 6.0, **shared},
    }


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(arg, size="full", root="runs/quickstart", split="train")
    smallest = common.is_smallest(values["size"])
    split = common.require_one_of(("train", "held_out"), split=values["split"])
    sources = tasks(values["root"], split)
    sources["single"] = {
        "kind": "single",
        "folder": f"{values['root']}/pictures/{split}",
        "crop": (0.3, 1.0),
        "flip": True,
    }
    # Edges are the hardest to predict and get the most practice.
    amounts = {"colorization": 600, "inpainting": 600, "edges": 900, "single": 300}
    for name, number in amounts.items():
        number = 8 if smallest else number
        sources[name]["sentences_per_epoch"] = number if split == "train" else -(-number // 10)
    return ConfigDict({"corpus": {"seed": 0, "epochs": 1, "sources": sources}})
