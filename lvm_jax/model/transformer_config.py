"""What a transformer is: sizes, precision, remat policy; the paper's presets as data."""

import dataclasses
from typing import Literal

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.vocabulary import Vocabulary

ComputeType = Literal["float32", "bfloat16"]
RematPolicy = Literal["none", "projections", "dots", "offload", "full"]
AttentionBackend = Literal[
    "auto", "xla", "blockwise", "per_head", "splash", "triton", "cudnn", "tokamax"
]
Products = Literal["compute", "int8", "fp8"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A LLaMA-style decoder: RMSNorm, RoPE, SwiGLU, untied head, no biases.

    Attributes:
        vocabulary: the ids; matrices over it have `vocabulary.padded_size` rows.
        hidden_dim: width of the residual stream.
        mlp_dim: width inside SwiGLU.
        num_heads: query heads; head_dim = hidden_dim / num_heads, which must be even (RoPE).
        num_kv_heads: key and value heads, a divisor of num_heads; 0 means num_heads.
        num_layers: decoder blocks.
        context: longest row in ids that the model is meant for; RoPE itself has no limit.
        rope_theta: base of the rotary frequencies.
        rope_table: precision of the rotary angles; "bfloat16" is for weights of LVM's own training,
            which made them so: beyond position 256 neighbours turn by the same angle.
        norm_eps: added to the mean square in RMSNorm.
        init_scale: standard deviation of every matrix at initialisation.
        dtype: of matrix products and of the residual stream; parameters, norms, softmax and logits
            are always float32, and RoPE is unless `rope_table` says otherwise.
        products: of what training's products with the layers' matrices are, forward and backward:
            "compute" is dtype; "int8" and "fp8" round to eight bits (`low_precision`), which some
            devices multiply up to twice as fast; a product then errs by 1% in int8, by 4 to 6% in
            fp8. Embedding and head stay in dtype, and so does a trained model that is loaded.
        remat: what the backward pass keeps of each layer. "none" keeps all; "dots" keeps every
            matrix product and recomputes what lies between, the fastest on CPU; "projections"
            keeps products with weights and recomputes attention; "offload" does so in the memory
            of the device's host, where the device reaches it; "full" keeps the layer's input alone.
        attention: how attention is computed, which changes results by rounding only. "auto" takes
            the fastest that runs and says at start which and why; "xla" is the reference, all
            scores at once; "blockwise" skips what the causal mask hides, and so does "per_head",
            one head after another; "splash" is a kernel for TPU v4 and newer, "triton" one for
            GPUs; both run on CPU as well, interpreted, for tests; "cudnn" and "tokamax" (an
            extra) are for Hopper and newer GPUs, only when asked for.
        scan: run the layers by `lax.scan` (one layer to compile) rather than unrolled.
    """

    vocabulary: Vocabulary = dataclasses.field(default_factory=Vocabulary)
    hidden_dim: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int = 0
    num_layers: int
    context: int = 4096
    rope_theta: float = 1e4
    rope_table: ComputeType = "float32"
    norm_eps: float = 1e-6
    init_scale: float = 0.02
    dtype: ComputeType = "bfloat16"
    products: Products = "compute"
    remat: RematPolicy = "full"
    attention: AttentionBackend = "auto"
    scan: bool = True

    def __post_init__(self):
        sizes = ("hidden_dim", "mlp_dim", "num_heads", "num_layers", "context")
        configs.require_at_least(self, 1, *sizes)
        num_heads = Field("num_heads"), f"={self.num_heads}"
        if self.hidden_dim % (2 * self.num_heads):
            raise ConfigError(
                Field("hidden_dim"),
                f"={self.hidden_dim} must be a multiple of twice ",
                *num_heads,
                ": RoPE rotates pairs inside a head",
            )
        if self.num_kv_heads < 0 or self.num_heads % self.kv_heads:
            problem = Field("num_kv_heads"), f"={self.num_kv_heads} must be 0 or divide "
            raise ConfigError(*problem, *num_heads)

    @property
    def head_dim(self) -> int:
        """Width of one query, key or value; even."""
        return self.hidden_dim // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Key and value heads after the default is resolved."""
        return self.num_kv_heads or self.num_heads

    @property
    def matrix_parameters_per_layer(self) -> int:
        """Elements of one block's matrices: q, k, v, o and the three of SwiGLU."""
        attention = 2 * self.hidden_dim * self.head_dim * (self.num_heads + self.kv_heads)
        return attention + 3 * self.hidden_dim * self.mlp_dim

    @property
    def num_parameters(self) -> int:
        """Logical count: the vocabulary's padding rows are left out, as the paper's sizes are."""
        per_layer = self.matrix_parameters_per_layer + 2 * self.hidden_dim
        ends = 2 * self.vocabulary.size * self.hidden_dim + self.hidden_dim
        return self.num_layers * per_layer + ends


def _lvm(hidden_dim: int, mlp_dim: int, num_heads: int, num_layers: int) -> TransformerConfig:
    return TransformerConfig(
        hidden_dim=hidden_dim, mlp_dim=mlp_dim, num_heads=num_heads, num_layers=num_layers
    )


# Bai et al. 2023, Table 2 (300m, 600m, 1b, 3b); the others are in LVM's repository only.
PRESETS: dict[str, TransformerConfig] = {
    "100m": _lvm(640, 1664, 10, 22),
    "300m": _lvm(1024, 2688, 8, 22),
    "600m": _lvm(1536, 4096, 16, 22),
    "1b": _lvm(2048, 5504, 16, 22),
    "3b": _lvm(3200, 8640, 32, 26),
    "7b": _lvm(4096, 11008, 32, 32),
    "13b": _lvm(5120, 13824, 40, 40),
    "20b": _lvm(6144, 16128, 48, 46),
    "30b": _lvm(6656, 17920, 52, 60),
    # The geometry of the released weights, under the name by which they are imported.
    "lvm_7b": _lvm(4096, 11008, 32, 32),
    # For tests: seconds to compile, grouped heads, no size a power of two by accident.
    "debug": TransformerConfig(
        vocabulary=Vocabulary(num_codes=61, num_special=3, pad_multiple=16),
        hidden_dim=32,
        mlp_dim=48,
        num_heads=4,
        num_kv_heads=2,
        num_layers=2,
        context=64,
        dtype="float32",
        remat="none",
    ),
    # For the quick-start: learns on 2 CPU cores in minutes. A lower RoPE base and a larger
    # initialisation than LLaMA's make it find the pixels of the query sooner.
    "quickstart": TransformerConfig(
        vocabulary=Vocabulary(num_codes=256),
        hidden_dim=128,
        mlp_dim=384,
        num_heads=2,
        num_layers=4,
        context=288,
        rope_theta=300.0,
        init_scale=0.04,
        dtype="float32",
        remat="dots",
    ),
}
