"""Fine-tunes the pair that ships, or a model of your own, on your own pictures.

    own=photos=/data/photos,annotations=/data/depth_maps
    python tools/build_shards.py --config=experiments/finetune.py:stage=sentences,$own \
        --pretrained=uvd_mini --out=runs/finetune/shards
    python tools/train.py --config=experiments/finetune.py:stage=model,$own \
        --workdir=runs/finetune/model
    python tools/evaluate.py --task=analogies --model=runs/finetune/model \
        --config=experiments/finetune.py:stage=evaluation,$own --out=runs/finetune/report

Tasks, held-out pictures and report are those of own_images.py; the tokenizer stays as it is, so
there is none to train. The report of the pair itself, with --pretrained=uvd_mini
--config.shards=runs/finetune/shards in the place of --model, says what fine-tuning was good for.

Without photos, stage=model takes any sentences, with held-out ones beside them: ROOT/shards and
ROOT/held_out_shards. The quick-start's tasks, from the pair instead of from nothing:

    python tools/build_shards.py --config=experiments/quickstart_sentences.py \
        --pretrained=uvd_mini --out=runs/finetune/shards
    python tools/build_shards.py --config=experiments/quickstart_sentences.py:split=held_out \
        --pretrained=uvd_mini --out=runs/finetune/held_out_shards
    python tools/train.py --config=experiments/finetune.py --workdir=runs/finetune/model
    python tools/evaluate.py --task=analogies --config=experiments/quickstart_evaluation.py \
        --model=runs/finetune/model --out=runs/finetune/report

From a model of your own: pretrained=DIR, a workdir or a model directory, and its --tokenizer=DIR in
the place of --pretrained and beside --model. Parameters alone are taken, at the start; steps,
schedule and moments are the run's own, and when it goes on it reads its own checkpoint.

Hardware: two CPU cores. Duration: 300 steps took 25 minutes on two cores of an AMD EPYC that other
work shared; they are 1e14 FLOPs, and 3 seconds each where a core and a half was left to them.
Expected result: of the quick-start's tasks, those of docs/first_ten_minutes.md: all three answered.
Arguments: stage=model|sentences|evaluation, photos=DIR, annotations=DIR, root=runs/finetune,
pretrained=uvd_mini, steps=300, size=full|smallest.
"""

import json
import shlex
from typing import Any

from ml_collections import ConfigDict

from experiments import common, own_images
from lvm_jax.pretrained import places
from lvm_jax.storage import paths

BATCH_SIZE = 8
# Of all tasks together; two fit a row of the pair that ships, so that 300 steps see each once.
MOST_SENTENCES = 4800
PEAK_LR = 5e-4  # a fifth of what the pair was trained with


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(
        arg,
        stage="model",
        photos="",
        annotations="",
        root="runs/finetune",
        pretrained=places.NAMES[0],
        steps=300,
        size="full",
    )
    stages = {"sentences": sentences, "model": model, "evaluation": evaluation}
    stage = common.require_one_of(stages, stage=values["stage"])
    if stage != "model" and not values["photos"]:
        raise ValueError("config argument photos is not set; name a folder of pictures, photos=DIR")
    return ConfigDict(stages[stage](values))


def sentences(values: dict) -> dict:
    """Those of own_images.py, no more than the steps have use for."""
    return own_images.sentences(values, MOST_SENTENCES)


def model(values: dict) -> dict:
    """The model's own sizes and parameters; a low learning rate, since it knows something."""
    directory = starting_from(values["pretrained"])
    sizes = sizes_of(directory)
    smallest, context = common.is_smallest(values["size"]), sizes["context"]
    if values["photos"]:
        data = own_images.data(values, context)
    else:
        names = {"data": "shards", "eval_data": "held_out_shards"}
        data = {
            key: {"shards": f"{values['root']}/{name}", "context": context}
            for key, name in names.items()
        }
    return {
        "seed": 0,
        "batch_size": BATCH_SIZE,
        **data,
        "eval_batches": 1 if smallest else 32,
        "model": sizes,
        "init_from": directory,
        "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
        "optimizer": {"peak_lr": PEAK_LR, "end_lr": PEAK_LR / 10, "warmup_steps": "5%"},
        "loop": {
            "num_steps": 6 if smallest else values["steps"],
            "log_every": 1 if smallest else 10,
            "checkpoint_every": "25%",
            "eval_every": "10%",
        },
    }


def evaluation(values: dict) -> dict:
    """The prompts of own_images.py."""
    argument = own_images.argument({**values, "steps": 2 * values["steps"]}, "model")
    longer = (
        f"python tools/train.py --config={shlex.quote(f'experiments/finetune.py:{argument}')} \\\n"
        f"    --workdir={values['root']}/model_longer"
    )
    title = "Train longer, if it has not memorised, in a directory of its own"
    return {**own_images.evaluation(values), "commands": [(title, longer)]}


def starting_from(pretrained: str) -> str:
    """The directory of a pair that ships, or of a model of the user's.

    Raises:
        ValueError: it is a name of the first kind, and the package came without it.
    """
    return places.find(pretrained).model if pretrained in places.NAMES else pretrained


def sizes_of(directory: str) -> dict[str, Any]:
    """The sizes of the model in a directory; how it was computed suited another machine.

    Raises:
        ValueError: it holds no model.
    """
    file = paths.path(directory) / "config.json"
    try:
        sizes = json.loads(file.read_text())["model"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"config argument pretrained={directory} is no directory of a model, nor "
            f"{' or '.join(places.NAMES)}: {file} cannot be read or says nothing of a model"
        ) from error
    return {**sizes, "attention": "auto", "products": "compute"}
