"""UVD-mini: 21 tasks over 11 kinds of sentences, from pictures that come inside packages.

    python tools/prepare_uvd_mini.py --out runs/uvd_mini --subset small
    python tools/build_shards.py --config=experiments/uvd_mini.py --tokenizer=DIR \
        --out=runs/uvd_mini_shards/train
    python tools/build_shards.py --config=experiments/uvd_mini.py:split=held_out --tokenizer=DIR \
        --out=runs/uvd_mini_shards/held_out

Hardware: two CPU cores, or one GPU for the tokenizer.
Duration: preparing the small subset took 8 minutes on two busy cores, building its training shards
with the tokenizer of uvd_mini_tokenizer.py a minute; all of it took 47 and 7 minutes.
Expected result: from the small subset about 5,550 sentences an epoch for training and 600 held out
(about 3,640 and 385 of them single images); from all of it 18,236 sentences of 188,789 images and
2,985 of 37,122 (6,809 and 700 single images). Held out are things that training never showed and,
under the names unseen_*, three tasks that it never poses.
Arguments: root=runs/uvd_mini, split=train|held_out, pairs=8, images=16, epochs=1.
"""

import functools

from ml_collections import ConfigDict

from experiments import common

# The outline of a flag does not tell which.
FLAGS = ("1f1*-1f1*",)
# Edges were drawn for these views of a model.
EDGE_VIEWS = ("*/045", "*/135", "*/225", "*/315")


def annotation(folder: str, pairs: int, question: str, answer: str, **more) -> dict:
    """Pairs of pictures of two folders."""
    return {
        "kind": "annotation",
        "folder": f"{folder}/{question}",
        "annotation_folder": f"{folder}/{answer}",
        "pairs_per_sentence": pairs,
        **more,
    }


def tasks(folder: str, pairs: int, images: int) -> dict[str, dict]:
    """The tasks on one split.

    What has a direction is not mirrored: normals, and maps with the light from one side. Every
    picture has a square of its own, which makes more of few pictures.

    Args:
        folder: of the split.
        pairs: in a sentence of pairs.
        images: in a sentence of another kind.
    """
    strict = {"crop": (0.7, 1.0), "same_crop": False}
    loose = {**strict, "flip": True}
    views = f"{folder}/models/*"
    pair = functools.partial(annotation, folder, pairs)

    def derived(kind: str, shown: str, **more) -> dict:
        return {"kind": kind, "folder": f"{folder}/{shown}", "pairs_per_sentence": pairs, **more}

    return {
        "drawings": {"kind": "single", "folder": f"{folder}/emoji_color", **loose},
        "solid_emoji": {"kind": "single", "folder": f"{folder}/emoji_3d", **loose},
        "line_to_color": pair("emoji_line", "emoji_color", exclude=FLAGS, **loose),
        "flat_to_3d": pair("emoji_flat", "emoji_3d", **loose),
        "3d_to_flat": pair("emoji_3d", "emoji_flat", **loose),
        "emoji_mask": pair("emoji_3d", "emoji_mask", **loose),
        "emoji_edges": pair("emoji_3d", "edges/emoji_3d", **loose),
        "model_edges": pair("models/*/color", "edges/models/*/color", include=EDGE_VIEWS, **loose),
        "satellite_edges": pair("earth/satellite", "edges/earth/satellite", **loose),
        "depth": pair("models/*/color", "models/*/depth", **loose),
        "normals": pair("models/*/color", "models/*/normal", **strict),
        "satellite_to_relief": pair("earth/satellite", "earth/relief", **strict),
        "colorization": derived("colorization", "emoji_3d", **loose),
        "inpainting": derived("inpainting", "earth/satellite", hole="mixed", **loose),
        "denoising": derived("noise", "earth/satellite", **loose),
        "upscaling": derived("downscaling", "emoji_3d", **loose),
        "model_annotations": {
            "kind": "multi_annotation",
            "folder": f"{views}/color",
            "annotation_folders": tuple(f"{views}/{kind}" for kind in ("depth", "normal", "mask")),
            "most_images": images,
            **strict,
        },
        "animation": {
            "kind": "video",
            "folder": f"{folder}/emoji_anim",
            "frames_per_sentence": images,
            "strides": (1, 2, 4),
            **loose,
        },
        "turntable": {
            "kind": "multiview",
            "folder": f"{views}/color",
            "views_per_sentence": images,
        },
        "turntable_depth": {
            "kind": "annotated_video",
            "folder": f"{views}/color",
            "annotation_folder": f"{views}/depth",
            "frames_per_sentence": images // 2,
            "strides": (1,),
        },
        "category": {
            "kind": "category",
            "folder": f"{folder}/emoji_groups",
            "group_size": images,
            **loose,
        },
    }


def unseen_tasks(folder: str, pairs: int) -> dict[str, dict]:
    """The tasks that training never poses: of another domain, another answer, another style."""
    pair = functools.partial(annotation, folder, pairs)
    return {
        "unseen_land": pair("earth/satellite", "earth/land"),
        "unseen_material": pair("models/*/normal", "models/*/segment"),
        "unseen_style": pair("emoji_noto_source", "emoji_noto"),
    }


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(
        arg, root="runs/uvd_mini", split="train", pairs=8, images=16, epochs=1
    )
    split = common.require_one_of(("train", "held_out"), split=values["split"])
    folder = f"{values['root']}/{split}"
    sources = tasks(folder, values["pairs"], values["images"])
    if split == "held_out":
        sources |= unseen_tasks(folder, values["pairs"])
    return ConfigDict({"corpus": {"seed": 0, "epochs": values["epochs"], "sources": sources}})
