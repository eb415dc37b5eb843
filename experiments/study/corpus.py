"""The study's sentences: UVD-mini without OpenMoji, whose licence is share-alike, in four mixtures.

    python tools/prepare_uvd_mini.py --out runs/uvd_mini
    python tools/build_shards.py --config=experiments/study/corpus.py \
        --tokenizer=runs/study/tokenizer --out=runs/study/shards/all/train
    python tools/build_shards.py --config=experiments/study/corpus.py:split=held_out \
        --tokenizer=runs/study/tokenizer --out=runs/study/shards/all/held_out

One build serves every mixture: a run takes its sources out of the shards of `all` by name,
data.mixture = {MIXTURE: {"sources": sources_of(MIXTURE)}}, and so does the held-out loss, which
leaves out what is never posed in training: the sources unseen_*. Each picture once would make half
of all ids depth and normals of models, and animations a thirtieth; so it is said below how many
sentences a source has in training. Held-out sources show each picture once.

Hardware: two CPU cores. Duration: seven minutes.
Expected result: 18,946 sentences of 163,144 images, 10.4 million ids; held out 3,505 of 39,621.
Of corpora in which annotations are rare, few=10 and few=100, the study has the training split in
runs/study/shards/few10 and few100: videos and single pictures are those of few=1.
Arguments: root=runs/uvd_mini, mixture=video|annotations|both|all, split=train|held_out, few=1 (N:
in training one annotated sentence of N), pairs=8, images=16, epochs=1.
"""

from ml_collections import ConfigDict

from experiments import common, uvd_mini

VIDEO = ("animation", "turntable")
PAIRS = (
    *("flat_to_3d", "3d_to_flat", "emoji_mask", "emoji_edges"),
    *("model_edges", "satellite_edges", "depth", "normals", "satellite_to_relief"),
    *("colorization", "inpainting", "denoising", "upscaling"),
)
ANNOTATIONS = (*PAIRS, "model_annotations", "turntable_depth")
# Sentences in an epoch of the full subset; a source that is not here shows every picture once.
EMOJI_PAIRS, SATELLITE_PAIRS, MODEL_PAIRS = 600, 208, 800
SENTENCES = {
    **dict.fromkeys(("flat_to_3d", "3d_to_flat", "emoji_mask", "emoji_edges"), EMOJI_PAIRS),
    **dict.fromkeys(("colorization", "upscaling"), EMOJI_PAIRS),
    **dict.fromkeys(("satellite_edges", "satellite_to_relief"), SATELLITE_PAIRS),
    **dict.fromkeys(("inpainting", "denoising"), SATELLITE_PAIRS),
    **dict.fromkeys(("depth", "normals"), MODEL_PAIRS),
    **{"model_edges": 600, "model_annotations": 600, "turntable_depth": 500},
    **{"animation": 880, "things": 338},
}
SINGLE_AND_CATEGORY = ("solid_emoji", "flat_emoji", "model_views", "satellite", "things")
MIXTURES = {
    "video": VIDEO,
    "annotations": ANNOTATIONS,
    "both": (*VIDEO, *ANNOTATIONS),
    "all": (*VIDEO, *ANNOTATIONS, *SINGLE_AND_CATEGORY),
}


def sources_of(mixture: str) -> tuple[str, ...]:
    """The names of a mixture's sources, as a source of `data.mixture` takes them."""
    return MIXTURES[common.require_one_of(MIXTURES, mixture=mixture)]


def tasks(folder: str, pairs: int, images: int) -> dict[str, dict]:
    """Every source of `all` on one split; a category is one thing seen from all sides.

    Args:
        folder: of the split.
        pairs: in a sentence of pairs.
        images: in a sentence of another kind.
    """
    squares = {"crop": (0.7, 1.0), "same_crop": False, "flip": True}

    def single(place: str, **more) -> dict:
        return {"kind": "single", "folder": f"{folder}/{place}", **more, **squares}

    known = uvd_mini.tasks(folder, pairs, images) | {
        "flat_emoji": single("emoji_flat"),
        "model_views": single("models/*/color", include=uvd_mini.EDGE_VIEWS),
        "satellite": single("earth/satellite"),
        "things": {
            "kind": "category",
            "folder": f"{folder}/models",
            "include": ("*/color/*",),
            "group_size": images,
            **squares,
        },
    }
    return {name: known[name] for name in MIXTURES["all"]}


def unseen_tasks(folder: str, pairs: int) -> dict[str, dict]:
    """The tasks that no mixture poses: those of UVD-mini, and to color drawings of OpenMoji."""
    line_to_color = uvd_mini.tasks(folder, pairs, 2 * pairs)["line_to_color"]
    return uvd_mini.unseen_tasks(folder, pairs) | {"unseen_line_to_color": line_to_color}


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(
        arg,
        **{"root": "runs/uvd_mini", "mixture": "all", "split": "train", "few": 1},
        **{"pairs": 8, "images": 16, "epochs": 1},
    )
    split = common.require_one_of(("train", "held_out"), split=values["split"])
    folder, pairs = f"{values['root']}/{split}", values["pairs"]
    known = tasks(folder, pairs, values["images"])
    sources = {name: known[name] for name in sources_of(values["mixture"])}
    if split == "held_out":
        sources |= unseen_tasks(folder, pairs)
    else:
        for name in sources.keys() & SENTENCES:
            few = values["few"] if name in ANNOTATIONS else 1
            sources[name]["sentences_per_epoch"] = max(1, SENTENCES[name] // few)
    return ConfigDict({"corpus": {"seed": 0, "epochs": values["epochs"], "sources": sources}})
