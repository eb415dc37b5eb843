"""The geometry of a VQGAN as data, and the published ones as presets."""

import dataclasses
from typing import Literal

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class VQGANConfig:
    """One VQGAN: encoder, codebook, decoder.

    Levels run from full resolution (level 0) to the latent grid; each but the last halves the
    resolution in the encoder and doubles it in the decoder. Defaults are those of MaskGIT, the
    plainest of the published five.

    Attributes:
        image_size: side of the square images, in pixels.
        pixel_range: what the network sees inside; the public interface is always [0, 1].
        patch_size: pixels per side folded into channels before the encoder's first convolution and
            unfolded after the decoder's last: 1 in every published model; 2 or 4 makes small models
            several times faster, because the full resolution is where a VQGAN spends its time.
        base_dim: channels at level 0 before its multiplier.
        dim_multipliers: channels of each level as a multiple of `base_dim`.
        encoder_blocks: residual blocks of each encoder level.
        decoder_blocks: residual blocks of each decoder level.
        attention_levels: levels with self-attention after every residual block, in both halves.
        num_mid_blocks: residual blocks between the levels and the latents, in both halves.
        mid_attention: self-attention after the first of them.
        downsample: "conv" (3x3, stride 2, padded right and below) or "average" (2x2 mean).
        upsample: "nearest_conv" or "depth_to_space" (a convolution to 4C channels, unfolded).
        block_bias: whether the residual blocks' convolutions have a bias.
        conv_in_bias: whether the encoder's first convolution has one.
        shortcut_source: where a residual block that changes channels takes its 1x1 shortcut from:
            its "input", or the output of its second convolution ("conv2", MaskGIT's way).
        encoder_out_kernel: 1 or 3, the kernel of the encoder's last convolution.
        quant_convs: 1x1 convolutions between `latent_dim` and `code_dim` on both sides.
        latent_dim: channels of the encoder's output and the decoder's input.
        code_dim: length of a codebook vector.
        num_codes: size of the codebook.
        normalize_codes: compare and decode codes on the unit sphere.
        norm_groups: groups of every GroupNorm.
    """

    image_size: int = 256
    pixel_range: Literal["zero_one", "minus_one_one"] = "zero_one"
    patch_size: int = 1
    base_dim: int = 128
    dim_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    encoder_blocks: tuple[int, ...] = (2, 2, 2, 2, 2)
    decoder_blocks: tuple[int, ...] = (2, 2, 2, 2, 2)
    attention_levels: tuple[int, ...] = ()
    num_mid_blocks: int = 2
    mid_attention: bool = False
    downsample: Literal["conv", "average"] = "average"
    upsample: Literal["nearest_conv", "depth_to_space"] = "nearest_conv"
    block_bias: bool = False
    conv_in_bias: bool = False
    shortcut_source: Literal["input", "conv2"] = "conv2"
    encoder_out_kernel: int = 1
    quant_convs: bool = False
    latent_dim: int = 256
    code_dim: int = 256
    num_codes: int = 1024
    normalize_codes: bool = False
    norm_groups: int = 32

    def __post_init__(self):
        self._check_choices()
        configs.require_at_least(self, 1, "image_size", "patch_size", "base_dim", "norm_groups")
        configs.require_at_least(self, 1, "latent_dim", "code_dim")
        if not 2 <= self.num_codes <= 2**16 - 3:
            raise ConfigError(
                Field("num_codes"),
                f"={self.num_codes} must be in 2..{2**16 - 3}, so that codes and special ids fit "
                "uint16 shards",
            )
        for name in ("encoder_blocks", "decoder_blocks"):
            blocks = getattr(self, name)
            if len(blocks) != self.num_levels or min(blocks, default=0) < 1:
                raise ConfigError(
                    Field(name),
                    f"={blocks} must give at least 1 block for each of the {self.num_levels} "
                    "levels of ",
                    Field("dim_multipliers"),
                    f"={self.dim_multipliers}",
                )
        if any(not 0 <= level < self.num_levels for level in self.attention_levels):
            raise ConfigError(
                Field("attention_levels"),
                f"={self.attention_levels} must be in 0..{self.num_levels - 1}",
            )
        if self.num_mid_blocks < (1 if self.mid_attention else 0):
            raise ConfigError(
                Field("num_mid_blocks"),
                f"={self.num_mid_blocks} must be at least {int(self.mid_attention)} with ",
                Field("mid_attention"),
                f"={self.mid_attention}",
            )
        if self.image_size % self.downsampling:
            raise ConfigError(
                Field("image_size"),
                f"={self.image_size} must be a multiple of the downsampling {self.downsampling} = ",
                Field("patch_size"),
                f" {self.patch_size} * 2**{self.num_levels - 1}",
            )
        for multiplier in (1, *self.dim_multipliers):
            if multiplier < 1 or self.base_dim * multiplier % self.norm_groups:
                raise ConfigError(
                    Field("norm_groups"),
                    f"={self.norm_groups} must divide ",
                    Field("base_dim"),
                    f" * multiplier = {self.base_dim} * {multiplier}",
                )
        if not self.quant_convs and self.latent_dim != self.code_dim:
            raise ConfigError(
                Field("latent_dim"),
                f"={self.latent_dim} must equal ",
                Field("code_dim"),
                f"={self.code_dim} unless ",
                Field("quant_convs"),
                "=True",
            )

    def _check_choices(self):
        choices = {
            "pixel_range": ("zero_one", "minus_one_one"),
            "downsample": ("conv", "average"),
            "upsample": ("nearest_conv", "depth_to_space"),
            "shortcut_source": ("input", "conv2"),
            "encoder_out_kernel": (1, 3),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                choice = f"={getattr(self, name)!r} must be one of {', '.join(map(repr, known))}"
                raise ConfigError(Field(name), choice)

    @property
    def num_levels(self) -> int:
        """Resolutions; each but the first has half the side of the one before."""
        return len(self.dim_multipliers)

    @property
    def downsampling(self) -> int:
        """Pixels per side that become one code."""
        return self.patch_size * 2 ** (self.num_levels - 1)

    @property
    def grid_size(self) -> int:
        """Codes per side of an image."""
        return self.image_size // self.downsampling

    @property
    def tokens_per_image(self) -> int:
        """Codes of an image: the whole grid, row by row."""
        return self.grid_size**2

    def level_dim(self, level: int) -> int:
        """Channels at a level."""
        return self.base_dim * self.dim_multipliers[level]


_TAMING = VQGANConfig(
    pixel_range="minus_one_one",
    decoder_blocks=(3, 3, 3, 3, 3),
    attention_levels=(4,),
    mid_attention=True,
    downsample="conv",
    block_bias=True,
    conv_in_bias=True,
    shortcut_source="input",
    encoder_out_kernel=3,
    quant_convs=True,
)

PRESETS: dict[str, VQGANConfig] = {
    # The tokenizer that LVM ships: openMUSE's, trained on LAION.
    "openmuse_f16_8192": dataclasses.replace(
        _TAMING,
        pixel_range="zero_one",
        dim_multipliers=(1, 2, 2, 4, 6),
        attention_levels=(),
        mid_attention=False,
        latent_dim=64,
        code_dim=64,
        num_codes=8192,
    ),
    "taming_f16_1024": _TAMING,
    "taming_f16_16384": dataclasses.replace(_TAMING, num_codes=16384),
    "llamagen_f16_16384": dataclasses.replace(
        _TAMING, code_dim=8, num_codes=16384, normalize_codes=True
    ),
    "maskgit_f16_1024": VQGANConfig(),
    # The tokenizer of LVM's first demo.
    "lvm_xh_f16_8192": VQGANConfig(
        upsample="depth_to_space",
        shortcut_source="input",
        latent_dim=32,
        code_dim=32,
        num_codes=8192,
    ),
    # A few thousand parameters: for tests.
    "debug": VQGANConfig(
        image_size=16,
        pixel_range="minus_one_one",
        patch_size=2,
        base_dim=8,
        dim_multipliers=(1, 2),
        encoder_blocks=(1, 1),
        decoder_blocks=(1, 1),
        num_mid_blocks=1,
        shortcut_source="input",
        conv_in_bias=True,
        block_bias=True,
        quant_convs=True,
        latent_dim=16,
        code_dim=4,
        num_codes=32,
        norm_groups=4,
    ),
    # The quick-start's: 36 ids for a 48-pixel image, trained in two minutes on two CPU cores. One
    # level on 8-pixel patches: full resolution is where a CPU would spend its time.
    "quickstart": VQGANConfig(
        image_size=48,
        pixel_range="minus_one_one",
        patch_size=8,
        base_dim=64,
        dim_multipliers=(1,),
        encoder_blocks=(1,),
        decoder_blocks=(2,),
        num_mid_blocks=0,
        block_bias=True,
        conv_in_bias=True,
        shortcut_source="input",
        quant_convs=True,
        latent_dim=64,
        code_dim=8,
        num_codes=256,
        norm_groups=8,
    ),
}
