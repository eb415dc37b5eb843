"""What devices can do at most, and which memories they reach."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

import jax

from lvm_jax.configs import ConfigError, Field

# Kinds of memory, as JAX calls them: a device's own, and the part of its host's that it reaches
# by itself.
DEVICE_MEMORY, HOST_MEMORY = "device", "pinned_host"


@dataclasses.dataclass(frozen=True)
class DevicePeak:
    """Published limits of one JAX device.

    Attributes:
        flops: dense bfloat16 matrix FLOP/s.
        bandwidth: bytes/s between its memory and its compute units.
        memory: bytes of that memory.
        int8, fp8: dense operations/s of products of integers and of floats of eight bits; 0 where
            none are published: it has none, or converts them first.
    """

    flops: float
    bandwidth: float
    memory: float
    int8: float = 0.0
    fp8: float = 0.0


# By `jax.Device.device_kind`. A TPU v2, v3 or 7x device is one core (chiplet) of its chip; the
# others are whole chips.
DEVICE_PEAKS: dict[str, DevicePeak] = {
    "TPU v2": DevicePeak(22.5e12, 350e9, 8 * 2**30),
    "TPU v3": DevicePeak(61.5e12, 450e9, 16 * 2**30),
    "TPU v4": DevicePeak(275e12, 1228e9, 32 * 2**30, int8=275e12),
    "TPU v5 lite": DevicePeak(197e12, 819e9, 16 * 2**30, int8=393e12),
    "TPU v5e": DevicePeak(197e12, 819e9, 16 * 2**30, int8=393e12),
    "TPU v5": DevicePeak(459e12, 2765e9, 95 * 2**30, int8=918e12),
    "TPU v5p": DevicePeak(459e12, 2765e9, 95 * 2**30, int8=918e12),
    "TPU v6 lite": DevicePeak(918e12, 1640e9, 32 * 2**30, int8=1836e12),
    "TPU v6e": DevicePeak(918e12, 1640e9, 32 * 2**30, int8=1836e12),
    "TPU7x": DevicePeak(1153.5e12, 3690e9, 96 * 2**30, fp8=2307e12),
    "Tesla V100-SXM2-16GB": DevicePeak(125e12, 900e9, 16 * 2**30),
    "NVIDIA A100-SXM4-40GB": DevicePeak(312e12, 1555e9, 40 * 2**30, int8=624e12),
    "NVIDIA A100-SXM4-80GB": DevicePeak(312e12, 2039e9, 80 * 2**30, int8=624e12),
    "NVIDIA L4": DevicePeak(121e12, 300e9, 24 * 2**30, int8=242e12, fp8=242e12),
    "NVIDIA L40S": DevicePeak(362e12, 864e9, 48 * 2**30, int8=733e12, fp8=733e12),
    "NVIDIA H100 80GB HBM3": DevicePeak(989e12, 3350e9, 80 * 2**30, int8=1979e12, fp8=1979e12),
    "NVIDIA H200": DevicePeak(989e12, 4800e9, 141e9, int8=1979e12, fp8=1979e12),
    "NVIDIA B200": DevicePeak(2250e12, 8000e9, 192e9, int8=4500e12, fp8=4500e12),
}


def device_peak(device_kind: str) -> DevicePeak | None:
    """Limits of a device, or None for one not listed (CPUs): utilisation is then unknown."""
    return DEVICE_PEAKS.get(device_kind)


def product_flops(device_kind: str, products: Literal["compute", "int8", "fp8"]) -> float | None:
    """Peak of matrix products, per second, or None for a device that is not listed.

    Args:
        device_kind: as `jax.Device.device_kind` has it.
        products: of bfloat16 ("compute") or of eight bits.

    Raises:
        ConfigError: the device has no such products. Its field is products.
    """
    peak = device_peak(device_kind)
    if peak is None:
        return None
    rates = {"compute": peak.flops, "int8": peak.int8, "fp8": peak.fp8}
    if not rates[products]:
        usable = ", ".join(name for name, rate in rates.items() if rate)
        raise ConfigError(
            *(Field("products"), f"={products}: no {device_kind} multiplies in it, so that it "),
            f"would only lose precision; use {usable}",
        )
    return rates[products]


def utilization(flops_per_second: float, device_kind: str, num_devices: int) -> float | None:
    """Model FLOPs utilisation in [0, 1], or None for an unknown device."""
    peak = device_peak(device_kind)
    return None if peak is None else flops_per_second / (peak.flops * num_devices)


def require_host_memory(devices: Iterable[jax.Device], name: str, value: object) -> None:
    """Refuses devices that cannot keep arrays in their host's memory.

    Args:
        devices: of a mesh.
        name, value: of the field that asks for it.

    Raises:
        ConfigError: names a device and the memories that it has.
    """
    for device in devices:
        # Those of another process's devices are not known; that process looks at them.
        kinds = sorted(memory.kind for memory in device.addressable_memories())
        if kinds and HOST_MEMORY not in kinds:
            raise ConfigError(
                *(Field(name), f"={value} needs {HOST_MEMORY} memory, but {device.device_kind} "),
                f"has only {', '.join(kinds)}; leave it out here",
            )
