"""Your own pictures, from a folder to a report: all four stages in one file, on two CPU cores.

    own=photos=/data/photos,annotations=/data/depth_maps
    python tools/train_tokenizer.py --config=experiments/own_images.py:stage=tokenizer,$own \
        --workdir=runs/own/tokenizer
    python tools/build_shards.py --config=experiments/own_images.py:stage=sentences,$own \
        --tokenizer=runs/own/tokenizer/tokenizer --out=runs/own/shards
    python tools/train.py --config=experiments/own_images.py:stage=model,$own \
        --workdir=runs/own/model
    python tools/evaluate.py --task=analogies \
        --config=experiments/own_images.py:stage=evaluation,$own --model=runs/own/model \
        --tokenizer=runs/own/tokenizer/tokenizer --out=runs/own/report

Annotations are optional: a folder of pictures with the same names, such as depth maps. Tasks are
colorization, inpainting and, with annotations, drawing them. An eighth of the pictures, at least 4
and at most 100, chosen by a hash of their names, is held out of all training and asked about in the
end. How many sentences and steps there are follows from the number of the others, so that no row is
seen more than four times.

Hardware: two CPU cores, memory as for the quick-start. Duration: not measured at full length; by
the quick-start's speed 7 minutes for a dozen pictures and 15 for a hundred or more.
Expected result: depends on the pictures; the report says which tasks were learned, and whether the
model memorised. The fewer pictures, the sooner it does.
Arguments: stage=tokenizer|sentences|model|evaluation, photos=DIR, annotations=DIR, root=runs/own,
size=full|smallest.
"""

import functools
import shlex

from ml_collections import ConfigDict

from experiments import common, quickstart_tokenizer
from lvm_jax.draws import hash_key
from lvm_jax.sentences import files

# Pairs of a task's sentence; 36 ids for each of its images fill a row of the transformer exactly.
PAIRS = 4
FEWEST_PHOTOS = 2 * PAIRS
MOST_HELD_OUT = 100
MOST_SENTENCES = 24_000  # of all tasks together
HELD_OUT = "held_out_"  # begins the names of the sources of held-out pictures
BATCH_SIZE = 8
_TOKENIZER = "--tokenizer=runs/own/tokenizer/tokenizer"


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(
        arg, stage="", photos="", annotations="", root="runs/own", size="full"
    )
    stages = {
        "tokenizer": tokenizer,
        "sentences": sentences,
        "model": model,
        "evaluation": evaluation,
    }
    stage = common.require_one_of(stages, stage=values["stage"])
    if not values["photos"]:
        raise ValueError("config argument photos is not set; name a folder of pictures, photos=DIR")
    return ConfigDict(stages[stage](values))


def tokenizer(values: dict) -> dict:
    """48-pixel images as 36 ids of 256 codes, as in the quick-start."""
    smallest = common.is_smallest(values["size"])
    amount = 16 if smallest else min(max(1000, len(split(values["photos"])["train"])), 10_000)
    sources = tasks(values, "train", pairs_per_sentence=1, sentences_per_epoch=amount)
    sources["single"] = single(values, "train", 2 * amount)
    eval_sources = tasks(values, "held_out", pairs_per_sentence=1, sentences_per_epoch=16)
    eval_sources["single"] = single(values, "held_out", 32)
    return {
        **quickstart_tokenizer.RECIPE,
        "corpus": {"seed": 1, "sources": sources},
        "eval_corpus": {"seed": 1, "sources": eval_sources},
        "loop": {
            "num_steps": 4 if smallest else 1600,
            "log_every": 2 if smallest else 20,
            "checkpoint_every": "25%",
            "eval_every": "25%",
        },
    }


def sentences(values: dict, most: int = MOST_SENTENCES) -> dict:
    """One directory of shards with two sets of sources, which `data` tells apart by name."""
    amount = sentences_per_task(values, most)
    sources = tasks(values, "train", sentences_per_epoch=amount)
    sources["single"] = single(values, "train", -(-amount // 4))
    few = -(-min(amount, 1000) // 10)
    eval_sources = tasks(values, "held_out", sentences_per_epoch=few)
    eval_sources["single"] = single(values, "held_out", -(-few // 4))
    sources |= {HELD_OUT + name: source for name, source in eval_sources.items()}
    return {"corpus": {"seed": 0, "epochs": 1, "sources": sources}}


def model(values: dict) -> dict:
    """The quick-start's transformer, trained on every row four times at most."""
    smallest = common.is_smallest(values["size"])
    return {
        "seed": 0,
        "batch_size": BATCH_SIZE,
        **data(values, 288),
        "eval_batches": 1 if smallest else 32,
        "model": {"preset": "quickstart"},
        "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
        "optimizer": {"peak_lr": 4e-3, "end_lr": 1e-4, "warmup_steps": "5%"},
        "loop": {
            "num_steps": num_steps(values),
            "log_every": 2 if smallest else 10,
            "checkpoint_every": "25%",
            "eval_every": "10%",
        },
    }


def data(values: dict, context: int) -> dict:
    """The two sets of sources in the shards of `sentences`, in rows of so many ids."""
    names = [*tasks(values, "train"), "single"]
    sources = {"train": names, "held_out": [HELD_OUT + name for name in names]}
    parts = {
        side: {
            "shards": f"{values['root']}/shards",
            "context": context,
            "mixture": {side: {"sources": of_side}},
        }
        for side, of_side in sources.items()
    }
    return {"data": parts["train"], "eval_data": parts["held_out"]}


def evaluation(values: dict) -> dict:
    """Prompts of held-out pictures."""
    smallest, sides = common.is_smallest(values["size"]), split(values["photos"])
    steps = f"--config.loop.num_steps={2 * num_steps(values)}"
    config = shlex.quote(f"experiments/own_images.py:{argument(values, 'model')}")
    longer = (
        f"python tools/train.py --config={config} \\\n"
        f"    --workdir={values['root']}/model_longer {steps}"
    )
    return {
        "title": f"{values['photos']}: {len(sides['train'])} pictures to train on, "
        f"{len(sides['held_out'])} held out",
        "tasks": tasks(values, "held_out"),
        "reconstructions": {"photos": single(values, "held_out", 0)},
        "num_reconstructions": 12,
        "evaluation": {
            "seeds": [0, 1, 2],
            "num_examples": 4 if smallest else 32,
            "num_answered": 2 if smallest else 16,
            "num_candidates": 2 if smallest else 4,
            "num_shown": 1 if smallest else 4,
            "temperature": 0.5,
        },
        "commands": [("Train longer, if it has not memorised, in a directory of its own", longer)],
    }


@functools.cache
def split(photos: str) -> dict[str, list[str]]:
    """Side -> names of its pictures, "train" and "held_out", by a hash of the names.

    Raises:
        ValueError: no such folder, or too few pictures in it.
    """
    keys = sorted(files.by_stem(photos), key=lambda key: hash_key("held out", key))
    if len(keys) < FEWEST_PHOTOS:
        raise ValueError(
            f"config argument photos={photos} holds {len(keys)} pictures; it takes "
            f"{FEWEST_PHOTOS}, half of which are held out"
        )
    number = min(max(PAIRS, len(keys) // 8), MOST_HELD_OUT)
    return {"train": keys[number:], "held_out": keys[:number]}


def tasks(values: dict, side: str, **more) -> dict[str, dict]:
    """The tasks on one side of the split; every picture of a sentence has a square of its own."""
    shared = {
        **pictures(values, side),
        "crop": (0.3, 0.7),
        "same_crop": False,
        "pairs_per_sentence": PAIRS,
        **more,
    }
    # Squares of one picture: the examples show what there is to know of its colors and texture.
    alike = {**shared, "same_picture": True}
    chosen = {
        "colorization": {"kind": "colorization", **alike},
        "inpainting": {"kind": "inpainting", "mask_ratio": 0.15, **alike},
    }
    if values["annotations"]:
        annotated = {"kind": "annotation", "annotation_folder": values["annotations"]}
        chosen["annotation"] = {**shared, **annotated, "crop": (0.5, 1.0)}
    return chosen


def single(values: dict, side: str, sentences_per_epoch: int) -> dict:
    """Pictures by themselves; sentences_per_epoch=0 shows each once."""
    amount = {"sentences_per_epoch": sentences_per_epoch}
    return {**pictures(values, side), "kind": "single", "crop": (0.3, 1.0), **amount}


def pictures(values: dict, side: str) -> dict:
    """The pictures of a side, by the names of the held-out ones, which are the fewer."""
    field = "exclude" if side == "train" else "include"
    return {"folder": values["photos"], field: split(values["photos"])["held_out"], "flip": True}


def sentences_per_task(values: dict, most: int = MOST_SENTENCES) -> int:
    """A hundred of every picture: enough for a small folder, and at most what there is time for."""
    if common.is_smallest(values["size"]):
        return 8
    num_photos = len(split(values["photos"])["train"])
    return min(max(100 * num_photos, 1000), most // len(tasks(values, "train")))


def num_steps(values: dict) -> int:
    """Four times through the rows, of which every sentence of a task fills one; 3000 at most."""
    if common.is_smallest(values["size"]):
        return 6
    rows = len(tasks(values, "train")) * sentences_per_task(values)
    return min(4 * rows // BATCH_SIZE, 3000)


def argument(values: dict, stage: str) -> str:
    """What follows the colon for another stage of the same pictures."""
    chosen = {**values, "stage": stage}
    return ",".join(f"{name}={value}" for name, value in chosen.items() if value)


def commands(pictures: str) -> str:
    """The four command lines; `pictures` says where they are, such as "photos=DIR"."""
    stages = {
        "tokenizer": "python tools/train_tokenizer.py --workdir=runs/own/tokenizer",
        "sentences": f"python tools/build_shards.py {_TOKENIZER} --out=runs/own/shards",
        "model": "python tools/train.py --workdir=runs/own/model",
        "evaluation": f"python tools/evaluate.py --task=analogies --model=runs/own/model "
        f"{_TOKENIZER} --out=runs/own/report",
    }
    config = "--config=experiments/own_images.py:stage="
    return "\n".join(
        f"{command} \\\n    {config}{stage},{pictures}" for stage, command in stages.items()
    )
