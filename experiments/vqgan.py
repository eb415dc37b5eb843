"""A VQGAN of any published geometry on your own pictures, with today's losses.

    python tools/train_tokenizer.py --workdir=runs/vqgan \
        --config=experiments/vqgan.py:images=PICTURES,held_out=OTHERS,vgg=vgg16.pth,lpips=vgg.pth

`vgg` is torchvision's vgg16 file, `lpips` the linear weights that the lpips package ships for it;
neither needs torch. Without them, vgg= leaves the perceptual loss out.

Hardware: sized for 8 accelerators of 40 GB or more; --config.accumulation=N needs less memory for
each. Duration: days; never run at this size here. Expected result: none measured at this size;
uvd_mini_tokenizer.py has a small recipe with numbers.
Arguments: images=runs/images, held_out=runs/held_out, preset=openmuse_f16_8192 (or another of
lvm_jax/tokenizer/vqgan_config.py), vgg=vgg16.pth, lpips=vgg.pth, steps=500000.
"""

from ml_collections import ConfigDict

from experiments import common


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(
        arg,
        images="runs/images",
        held_out="runs/held_out",
        preset="openmuse_f16_8192",
        vgg="vgg16.pth",
        lpips="vgg.pth",
        steps=500_000,
    )
    perceptual = {"network": "lpips_vgg16", "weight": 1.0} if values["vgg"] else None
    # Adversarial training is steadier with little momentum.
    adam = {"peak_lr": 1e-4, "end_lr": 1e-5, "b1": 0.5, "b2": 0.9}
    picture = {"kind": "single", "crop": (0.8, 1.0), "flip": True}
    return ConfigDict(
        {
            "seed": 0,
            "batch_size": 256,
            "corpus": {
                "seed": 1,
                "epochs": 1000,
                "sources": {"images": {**picture, "folder": values["images"]}},
            },
            "eval_corpus": {
                "seed": 1,
                "sources": {"images": {"kind": "single", "folder": values["held_out"]}},
            },
            "eval_images": 1024,
            "num_threads": 16,
            "perceptual_weights": [values["vgg"], values["lpips"]] if values["vgg"] else [],
            "tokenizer": {"preset": values["preset"]},
            "mesh": {"data": -1, "fsdp": -1, "tensor": 1},
            "training": {
                "reconstruction": "l2",
                "perceptual": perceptual,
                "encoder_gradient": "rotation",
                "restart_after": 100,
                "ema_decay": 0.999,
                "generator_weight": 0.1,
                "generator_balance": "fixed",
                "discriminator_loss": "non_saturating",
                "discriminator_start": 20_000,
                "lecam_weight": 0.001,
                "r1_weight": 10.0,
                "discriminator": {"downsample": "blur", "num_layers": 4},
                "compute_dtype": "bfloat16",
            },
            "optimizer": {**adam, "warmup_steps": 5_000},
            "discriminator_optimizer": {**adam, "warmup_steps": 0},
            "loop": {
                "num_steps": values["steps"],
                "log_every": 50,
                "checkpoint_every": 5_000,
                "eval_every": 5_000,
            },
        }
    )
