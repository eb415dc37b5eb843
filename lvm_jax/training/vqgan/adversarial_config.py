"""What a VQGAN is trained for: its losses, their weights and when they start.

Papers: Esser et al. 2021, section 3.1, and what its successors added; see each attribute.
"""

import dataclasses
from typing import Literal

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.measures.fidelity import SSIM_WINDOW
from lvm_jax.measures.perceptual import PerceptualConfig
from lvm_jax.tokenizer.vqgan_config import VQGANConfig
from lvm_jax.training.vqgan import discriminator as discriminator_lib
from lvm_jax.training.vqgan.discriminator import DiscriminatorConfig

_NOT_NEGATIVE = (
    "commitment_weight",
    "codebook_weight",
    "entropy_weight",
    "entropy_start",
    "generator_weight",
    "discriminator_start",
    "lecam_weight",
    "r1_weight",
    "restart_after",
)
_BELOW_ONE = ("codebook_decay", "ema_decay", "lecam_decay")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """What a VQGAN is trained for. Starts are steps; before them a loss is 0 (see `conditional`).

    Attributes:
        reconstruction: "l1" or "l2", the mean over pixels in [0, 1].
        reconstruction_weight: of that loss.
        perceptual: the network that compares original and reconstruction, with its weight and
            start, or None for none.
        commitment_weight: beta, of the loss that moves the encoder towards its codes.
        encoder_gradient: how the decoder's gradient passes the choice of a code: "straight_through"
            unchanged, "rotation" turned and scaled (`quantizer.rotation`).
        codebook: "gradient" moves the codes by the optimizer, "ema" keeps them at the moving means
            of the vectors that chose them.
        codebook_weight: of the loss that moves the codes, with "gradient".
        codebook_decay: per step, with "ema".
        entropy_weight, entropy_start: of the loss that wants sure choices and all codes in use
            (`quantizer.entropy_loss`).
        entropy_temperature: of those choices.
        first_codes: "outputs" puts all codes onto encoder outputs at the first step, "random"
            leaves them near the origin, where they are initialised.
        restart_after: a code that nobody chose for so many steps moves onto an encoder output of
            the batch; 0 never.
        usage_window: steps over which codebook_usage_window and codebook_perplexity_window are
            measured.
        ema_decay: per step, of the weights that are evaluated and saved; the first steps use less.
        generator_weight: of the discriminator's judgement; 0 trains without one.
        generator_balance: "fixed" uses that weight as it is, "adaptive" scales it so that both
            losses pull equally on the decoder's last convolution. With micro-batches each one
            finds its own scale.
        discriminator_loss: "hinge" or "non_saturating", for both sides (`game`).
        discriminator_start: step from which the discriminator trains and is listened to.
        lecam_weight: of LeCAM's bound on the scores, in the discriminator's loss.
        lecam_decay: per step, of the usual scores that it compares with.
        r1_weight: of the gradient penalty on real images, in the discriminator's loss.
        r1_every: steps between penalties, which are scaled up accordingly.
        discriminator: its geometry.
        compute_dtype: "bfloat16" runs the convolutions of both networks in it. Parameters, norms,
            the layers around the codes, the last convolutions and the losses stay float32.
    """

    reconstruction: Literal["l1", "l2"] = "l1"
    reconstruction_weight: float = 1.0
    perceptual: PerceptualConfig | None = None
    commitment_weight: float = 0.25
    encoder_gradient: Literal["straight_through", "rotation"] = "straight_through"
    codebook: Literal["gradient", "ema"] = "gradient"
    codebook_weight: float = 1.0
    codebook_decay: float = 0.99
    entropy_weight: float = 0.0
    entropy_start: int = 0
    entropy_temperature: float = 0.01
    first_codes: Literal["outputs", "random"] = "outputs"
    restart_after: int = 100
    usage_window: int = 100
    ema_decay: float = 0.999
    generator_weight: float = 0.1
    generator_balance: Literal["fixed", "adaptive"] = "adaptive"
    discriminator_loss: Literal["hinge", "non_saturating"] = "hinge"
    discriminator_start: int = 20_000
    lecam_weight: float = 0.0
    lecam_decay: float = 0.999
    r1_weight: float = 0.0
    r1_every: int = 16
    discriminator: DiscriminatorConfig = dataclasses.field(default_factory=DiscriminatorConfig)
    compute_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        require_at_least(self, 0, *_NOT_NEGATIVE)
        require_at_least(self, 1, "usage_window", "r1_every")
        for name in ("reconstruction_weight", "entropy_temperature"):
            if getattr(self, name) <= 0:
                raise ConfigError(Field(name), f"={getattr(self, name)} must be positive")
        for name in _BELOW_ONE:
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(Field(name), f"={getattr(self, name)} must lie in [0, 1)")
        for name in ("lecam_weight", "r1_weight"):
            if getattr(self, name) and not self.has_discriminator:
                raise ConfigError(
                    Field(name),
                    f"={getattr(self, name)} is part of a discriminator's loss, and ",
                    Field("generator_weight"),
                    "=0 trains without one; set one of them",
                )

    @property
    def has_discriminator(self) -> bool:
        """Whether one is made at all; it may still start late."""
        return self.generator_weight > 0

    def check_images(self, model: VQGANConfig) -> None:
        """Refuses images that are too small for what compares or judges them.

        Raises:
            ConfigError: names fields of what holds this config as `training` and the model's as
                `tokenizer`, and the smallest size.
        """
        needs: dict[tuple[str, ...], int] = {("SSIM",): SSIM_WINDOW}
        if self.has_discriminator:
            layers = (
                Field("training.discriminator.num_layers"),
                f"={self.discriminator.num_layers}",
            )
            needs[layers] = discriminator_lib.min_image_size(self.discriminator)
        if self.perceptual is not None:
            stages = (Field("training.perceptual.stages"), f"={self.perceptual.stages}")
            needs[stages] = self.perceptual.min_image_size
        for what, smallest in needs.items():
            if model.image_size < smallest:
                raise ConfigError(
                    *what,
                    f" needs images of {smallest} pixels, ",
                    Field("tokenizer.image_size"),
                    f"={model.image_size}; use fewer layers or larger images",
                )
