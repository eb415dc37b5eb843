"""The study's sentences: UVD-mini without OpenMoji, whose licence is share-alike, in four mixtures.

    python tools/prepare_uvd_mini.py --out runs/uvd_mini
    python tools/build_shards.py --config=experiments/study/corpus.py \
        --tokenizer=runs/study/tokenizer --out=runs/study/shards/all/train
    python tools/build_shards.py --config=experiments/study/corpus.py:split=held_out \
        --tokenizer=runs/study/tokenizer --out=runs/study/shards/all/held_out

One build serves every mixture: a run takes its sources out of the shards of `all` by name,
data.mixture = {MIXTURE: {"sources": sources_of(MIXTURE)}}, and so does the held-out loss, which
leaves out what is never posed in training: the sources unseen_*.

Hardware: two CPU cores. Duration: about ten minutes.
Expected result: about 180,000 images in 64 ids each for training, 37,000 held out.
Arguments: root=runs/uvd_mini, mixture=video|annotations|both|all, split=train|held_out, pairs=8,
images=16, epochs=1.
"""

from ml_collections import ConfigDict

from experiments import common, uvd_mini

VIDEO = ("animation", "turntable")
ANNOTATIONS = (
    *("flat_to_3d", "3d_to_flat", "emoji_mask", "emoji_edges"),
    *("model_edges", "satellite_edges", "depth", "normals", "satellite_to_relief"),
    *("colorization", "inpainting", "denoising", "upscaling"),
    *("model_annotations", "turntable_depth"),
)
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
        arg, root="runs/uvd_mini", mixture="all", split="train", pairs=8, images=16, epochs=1
    )
    split = common.require_one_of(("train", "held_out"), split=values["split"])
    folder, pairs = f"{values['root']}/{split}", values["pairs"]
    known = tasks(folder, pairs, values["images"])
    sources = {name: known[name] for name in sources_of(values["mixture"])}
    if split == "held_out":
        sources |= unseen_tasks(folder, pairs)
    return ConfigDict({"corpus": {"seed": 0, "epochs": values["epochs"], "sources": sources}})
