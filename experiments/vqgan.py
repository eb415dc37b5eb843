"""A full-size VQGAN of any published geometry, trained with today's recipe on your own pictures.

    python tools/train_tokenizer.py --workdir=/runs/vqgan \
        --config=experiments/vqgan.py:images=/data/photos,held_out=/data/photos_held_out

Train on what the transformer will see: photographs, and annotations drawn as pictures.
The perceptual loss needs two files: torchvision's vgg16 weights, and those of the lpips package for
vgg; neither torch nor torchvision.

Hardware: one host with 8 GPUs of 80 GB; on more devices the batch divides further, and
mesh.fsdp shares out the parameters. Several hosts: --config.distributed.mode=auto.
Duration: not measured. 400,000 steps of 256 images are 102 million images; MaskGIT's training saw
256 million.
Expected result: none is claimed. Published tokenizers of such geometries reach an rFID of 1.5 to 5
on ImageNet at 256 pixels (taming 4.98, LlamaGen 2.19, VQGAN+ 1.52, as their authors report).
Losses and rates follow what those trainings have in common: L2 and LPIPS, a patch discriminator
that joins after 20,000 steps with a fixed small weight and LeCAM, codes kept by moving means and
restarted when idle, EMA weights. Not run at this size; the same code trains
experiments/uvd_mini_tokenizer.py.
Arguments: preset=openmuse_f16_8192, images=/data/images, held_out=/data/held_out,
vgg=/weights/vgg16.pth, lpips=/weights/vgg.pth.
"""

from ml_collections import ConfigDict

from experiments import common


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(
        arg,
        preset="openmuse_f16_8192",
        images="/data/images",
        held_out="/data/held_out",
        vgg="/weights/vgg16.pth",
        lpips="/weights/vgg.pth",
    )
    adam = {"peak_lr": 1e-4, "end_lr": 1e-5, "warmup_steps": 5000, "b1": 0.9, "b2": 0.999}
    return ConfigDict(
        {
            "seed": 0,
            "batch_size": 256,
            "corpus": {
                "sources": {
                    # Random squares of 80 to 100% of the short side.
                    "images": {
                        "kind": "single",
                        "folder": values["images"],
                        "crop": (0.8, 1.0),
                        "flip": True,
                    }
                }
            },
            "eval_corpus": {
                "sources": {"images": {"kind": "single", "folder": values["held_out"]}}
            },
            "eval_images": 2048,
            "memory_megabytes": 0,
            "num_threads": 16,
            "perceptual_weights": [values["vgg"], values["lpips"]],
            "tokenizer": {"preset": values["preset"]},
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            "training": {
                "reconstruction": "l2",
                "reconstruction_weight": 4.0,
                "perceptual": {"network": "lpips_vgg16"},
                "codebook": "ema",
                "restart_after": 500,
                "generator_balance": "fixed",
                "generator_weight": 0.1,
                "discriminator_start": 20_000,
                "discriminator": {"downsample": "blur"},
                "lecam_weight": 0.001,
                "compute_dtype": "bfloat16",
            },
            "optimizer": adam,
            "discriminator_optimizer": adam,
            "loop": {
                "num_steps": 400_000,
                "log_every": 50,
                "checkpoint_every": 5000,
                "eval_every": 5000,
                "tensorboard": True,
            },
        }
    )
