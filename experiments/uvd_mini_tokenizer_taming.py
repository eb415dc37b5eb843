"""The same tokenizer as uvd_mini_tokenizer.py, trained by the plain recipe of taming-transformers.

    python tools/train_tokenizer.py --config=experiments/uvd_mini_tokenizer_taming.py \
        --workdir=runs/uvd_mini_tokenizer_taming

What is published (Esser et al. 2021): L1 between pixels in [-1, 1] and a perceptual distance, both
with weight 1; hinge loss with adaptive weight 0.8 from a late start; codes near the origin, moved
by the gradient, beta 0.25 on the encoder's side; no restarts, no averaged weights. What is not:
LPIPS is replaced by the features of vgg16_hed, as in the other recipe, BatchNorm in the
discriminator by GroupNorm, and Adam has the other recipe's learning rates, since the published one
(4.5e-6 for each image of the batch) learns too little in a run this short.

Most of what it loses, it loses to its codes: 15 of 512 are in use at the end.

Hardware: one CPU core. Duration: 11 minutes on a machine that others used too.
Expected result: see uvd_mini_tokenizer.py. Arguments: as there.
"""

from ml_collections import ConfigDict

from experiments import uvd_mini_tokenizer


def get_config(arg: str = "") -> ConfigDict:
    values = uvd_mini_tokenizer.shared(arg)
    values["training"] |= {
        # Pixels here lie in [0, 1], where differences are half as large.
        "reconstruction": "l1",
        "reconstruction_weight": 2.0,
        "codebook": "gradient",
        "commitment_weight": 0.25,
        "codebook_weight": 1.0,
        "first_codes": "random",
        "restart_after": 0,
        "ema_decay": 0.0,
        "generator_balance": "adaptive",
        "generator_weight": 0.8,
    }
    values["training"]["perceptual"] |= {"weight": 1.0}
    return ConfigDict(values)
