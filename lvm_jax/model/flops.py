"""Analytic FLOPs and bytes per token.

A multiply and an add count as two. Only matrix products count: they are nearly all of the work, and
model FLOPs utilisation is defined by them (Chowdhery et al. 2022, appendix B). Attention is counted
causally, position t against t + 1 keys, so a backend that skips the masked half gains nothing on
paper. Recomputation under remat is not model work and is left out.
"""

from lvm_jax.model.transformer_config import TransformerConfig

# Backward has two products for each one forward.
TRAIN_TO_FORWARD = 3


def forward_flops_per_token(config: TransformerConfig, keys: float) -> float:
    """FLOPs to turn one id into logits while attending to `keys` positions, itself included."""
    matrices = config.num_layers * config.matrix_parameters_per_layer
    head = config.hidden_dim * config.vocabulary.size
    attention = 2 * config.num_layers * config.num_heads * config.head_dim * keys
    return 2.0 * (matrices + head + attention)


def train_flops_per_token(
    config: TransformerConfig, context: int, *, full_attention: bool = False
) -> float:
    """FLOPs of a training step per token, averaged over a row that is one sentence.

    A packed row attends less; this counts it as if it were whole, the usual convention.

    Args:
        config: of the model.
        context: ids of a row.
        full_attention: count every pair of positions, as MosaicML and others do, to compare with.
    """
    keys = context if full_attention else (context + 1) / 2
    return TRAIN_TO_FORWARD * forward_flops_per_token(config, keys)


def prefill_flops(config: TransformerConfig, length: int) -> float:
    """FLOPs to read a prompt of `length` ids; the head is applied to the last one alone."""
    no_head = forward_flops_per_token(config, (length + 1) / 2) * length
    return no_head - 2.0 * (length - 1) * config.hidden_dim * config.vocabulary.size


def decode_bytes(
    config: TransformerConfig, prompt: int, num_ids: int, prompts: int, candidates: int = 1
) -> float:
    """Least traffic to generate `num_ids` ids in each row after the prompts were read, in bytes.

    In every step but the first id's, which the prompt gives, matrices are read once, and so are the
    prompts' caches and what each row has added.

    Args:
        config: of the model; its dtype is that of matrices and cache.
        prompt: ids of each prompt.
        num_ids: ids to generate in each row.
        prompts: how many.
        candidates: rows of each prompt.
    """
    size = 2 if config.dtype == "bfloat16" else 4
    weights = config.num_layers * config.matrix_parameters_per_layer
    weights += config.hidden_dim * config.vocabulary.size
    position = 2 * config.num_layers * config.kv_heads * config.head_dim
    added = prompts * candidates * num_ids / 2
    return size * (num_ids - 1) * (weights + position * (prompts * prompt + added))
