"""Analytic FLOPs and bytes per token, and what devices can do at most.

A multiply and an add count as two. Only matrix products count: they are nearly all of the work, and
model FLOPs utilisation is defined by them (Chowdhery et al. 2022, appendix B). Attention is counted
causally, position t against t + 1 keys, so a backend that skips the masked half gains nothing on
paper. Recomputation under remat is not model work and is left out.

Takes any config with the fields of `model.config.TransformerConfig` (the import order puts this
file before the model).
"""

import dataclasses
from typing import Any

# Backward has two products for each one forward.
TRAIN_TO_FORWARD = 3


@dataclasses.dataclass(frozen=True)
class DevicePeak:
    """Published limits of one JAX device.

    Attributes:
        flops: dense bfloat16 matrix FLOP/s.
        bandwidth: bytes/s between its memory and its compute units.
        memory: bytes of that memory.
    """

    flops: float
    bandwidth: float
    memory: float


# By `jax.Device.device_kind`. A TPU v2, v3 or 7x device is one core (chiplet) of its chip; the
# others are whole chips.
DEVICE_PEAKS: dict[str, DevicePeak] = {
    "TPU v2": DevicePeak(22.5e12, 350e9, 8 * 2**30),
    "TPU v3": DevicePeak(61.5e12, 450e9, 16 * 2**30),
    "TPU v4": DevicePeak(275e12, 1228e9, 32 * 2**30),
    "TPU v5 lite": DevicePeak(197e12, 819e9, 16 * 2**30),
    "TPU v5e": DevicePeak(197e12, 819e9, 16 * 2**30),
    "TPU v5": DevicePeak(459e12, 2765e9, 95 * 2**30),
    "TPU v5p": DevicePeak(459e12, 2765e9, 95 * 2**30),
    "TPU v6 lite": DevicePeak(918e12, 1640e9, 32 * 2**30),
    "TPU v6e": DevicePeak(918e12, 1640e9, 32 * 2**30),
    "TPU7x": DevicePeak(1153.5e12, 3690e9, 96 * 2**30),
    "Tesla V100-SXM2-16GB": DevicePeak(125e12, 900e9, 16 * 2**30),
    "NVIDIA A100-SXM4-40GB": DevicePeak(312e12, 1555e9, 40 * 2**30),
    "NVIDIA A100-SXM4-80GB": DevicePeak(312e12, 2039e9, 80 * 2**30),
    "NVIDIA L4": DevicePeak(121e12, 300e9, 24 * 2**30),
    "NVIDIA L40S": DevicePeak(362e12, 864e9, 48 * 2**30),
    "NVIDIA H100 80GB HBM3": DevicePeak(989e12, 3350e9, 80 * 2**30),
    "NVIDIA H200": DevicePeak(989e12, 4800e9, 141e9),
    "NVIDIA B200": DevicePeak(2250e12, 8000e9, 192e9),
}


def device_peak(device_kind: str) -> DevicePeak | None:
    """Limits of a device, or None for one not listed (CPUs): utilisation is then unknown."""
    return DEVICE_PEAKS.get(device_kind)


def forward_flops_per_token(config: Any, keys: float) -> float:
    """FLOPs to turn one id into logits while attending to `keys` positions, itself included."""
    matrices = config.num_layers * config.matrix_parameters_per_layer
    head = config.hidden_dim * config.vocabulary.size
    attention = 2 * config.num_layers * config.num_heads * config.head_dim * keys
    return 2.0 * (matrices + head + attention)


def train_flops_per_token(config: Any, context: int) -> float:
    """FLOPs of a training step per token, averaged over a row that is one sentence.

    A packed row attends less; this counts it as if it were whole, the usual convention.
    """
    return TRAIN_TO_FORWARD * forward_flops_per_token(config, (context + 1) / 2)


def decode_flops_per_token(config: Any, length: int) -> float:
    """FLOPs to generate the id after `length` cached positions."""
    return forward_flops_per_token(config, length + 1)


def train_bytes_per_step(config: Any) -> float:
    """Least traffic of parameters and optimizer state in one update, unsharded, in bytes.

    Parameters are read forward, backward and in the update; the two AdamW moments are read; all
    three are written; gradients are written and read: 9 float32 passes.
    """
    return 9.0 * 4 * config.num_parameters


def decode_bytes_per_token(config: Any, length: int, batch: int) -> float:
    """Least traffic to generate one id in each of `batch` rows, per generated id, in bytes.

    Matrices are read once for the whole batch, each row's cache once; the embedding is a look-up.
    """
    size = 2 if config.dtype == "bfloat16" else 4
    weights = config.num_layers * config.matrix_parameters_per_layer
    weights += config.hidden_dim * config.vocabulary.size
    cache = 2 * config.num_layers * config.kv_heads * config.head_dim * (length + 1)
    return size * (weights / batch + cache)


def utilization(flops_per_second: float, device_kind: str, num_devices: int) -> float | None:
    """Model FLOPs utilisation in [0, 1], or None for an unknown device."""
    peak = device_peak(device_kind)
    return None if peak is None else flops_per_second / (peak.flops * num_devices)
