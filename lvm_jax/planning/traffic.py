"""Bytes that a device moves to and from its memory in a train step, at least.

What no fusion can avoid: a step's matrices, activations and logits do not fit on the chip, so each
product with a kernel reads its operands and writes its result; what lies between two products is
taken as fused into them, attention as one kernel that keeps its scores on the chip. Per device:

    parameters   kernels in the compute dtype, read by each pass: forward, recomputed, backward
    optimizer    float32 parameters and both moments, read and written
    gradients    float32, written and read by each micro-batch; the own shard summed and read
    activations  operands and results of the layers' products, attention's included: forward,
                 recomputed, and twice backward (gradients of inputs, and of kernels)
    saved        what the remat policy keeps of each layer, written and read
    logits       float32: written, read by the loss, read by its gradient, which is written and
                 read by two products; pieces (`loss_chunks` > 1) are written and read again

Reductions, norms, RoPE, collectives' copies and padding are left out.
"""

import dataclasses
import math
from collections.abc import Mapping

from lvm_jax.model.transformer_config import TransformerConfig

_FLOAT32 = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes of one device in one step; see the top of the file."""

    parameters: float
    optimizer: float
    gradients: float
    activations: float
    saved: float
    logits: float

    @property
    def total(self) -> float:
        """All of them."""
        return sum(dataclasses.asdict(self).values())


def least(
    config: TransformerConfig,
    mesh_shape: Mapping[str, int],
    rows: int,
    context: int,
    *,
    accumulation: int = 1,
    loss_chunks: int = 1,
    moment_bytes: int = 2 * _FLOAT32,
) -> Traffic:
    """The bound of a step.

    Args:
        config: the model.
        mesh_shape: names and sizes of the mesh axes; absent ones are 1.
        rows: of the global batch.
        context: ids per row.
        accumulation: micro-batches of a step.
        loss_chunks: pieces of a row whose logits exist at a time.
        moment_bytes: of both optimizer moments of a parameter together.
    """
    tensor = mesh_shape.get("tensor", 1)
    tokens = rows * context / (math.prod(mesh_shape.values()) / tensor)
    size = 2 if config.dtype == "bfloat16" else _FLOAT32
    vocabulary = config.vocabulary.padded_size
    matrices = config.num_layers * config.matrix_parameters_per_layer
    matrices = (matrices + config.hidden_dim * vocabulary) / tensor
    # The embedding is looked up, but updated as a whole.
    parameters = matrices + config.hidden_dim * vocabulary / tensor
    shard = parameters / mesh_shape.get("fsdp", 1)
    again = _recomputed(config)
    logit_passes = 6 if loss_chunks == 1 else 8
    per_layer = tokens * size * config.num_layers
    return Traffic(
        parameters=accumulation * size * matrices * (2 + again),
        optimizer=shard * 2 * (_FLOAT32 + moment_bytes),
        gradients=_FLOAT32 * (accumulation * 2 * parameters + 2 * shard),
        activations=per_layer * _operands(config, tensor) * (3 + again),
        saved=per_layer * kept_elements(config, tensor) * 2,
        logits=logit_passes * _FLOAT32 * tokens * vocabulary / tensor,
    )


def _recomputed(config: TransformerConfig) -> float:
    """Forward passes that the backward pass makes again, of products with kernels."""
    return 1.0 if config.remat == "full" else 0.0


def _operands(config: TransformerConfig, tensor: int) -> float:
    """Elements per token that a layer's products and its attention read and write."""
    hidden = config.hidden_dim
    heads = (config.num_heads + 2 * config.kv_heads) * config.head_dim / tensor
    output = config.num_heads * config.head_dim / tensor
    mlp = config.mlp_dim / tensor
    projections = 3 * hidden + heads + output + hidden
    attention = heads + output
    return projections + attention + 2 * hidden + 2 * mlp + mlp + hidden


def kept_elements(config: TransformerConfig, tensor: int = 1, *, lanes: int = 1) -> float:
    """Elements per token that a layer leaves for its backward pass under its remat policy.

    What the scan over the layers stacks, but for the softmax's sums (one per head), and for the
    scores that attention "xla" keeps under "dots" and "none". The residual stream is split over
    tensor as matrices are.

    Args:
        config: the model; what "offload" keeps in the host's memory does not count.
        tensor: devices that share the model's matrices.
        lanes: heads are padded to a multiple of so many elements.
    """
    head_dim = math.ceil(config.head_dim / lanes) * lanes
    hidden = config.hidden_dim / tensor
    heads = (config.num_heads + 2 * config.kv_heads) * head_dim / tensor
    output = config.num_heads * head_dim / tensor
    mlp = config.mlp_dim / tensor
    kept = float(hidden)
    if config.remat not in ("full", "offload"):
        # The residual between the halves; queries, keys and values; gate and up.
        kept += hidden + heads + 2 * mlp
    if config.remat in ("dots", "none"):
        kept += output
    if config.remat == "none":
        # Attention's output as it is multiplied; four steps of each norm; four inside SwiGLU.
        kept += output + 8 * hidden + 4 * mlp
    return kept
