"""How fast a step can be at best, and what a training then costs.

Three times of a step: all FLOPs at the peak, all bytes at the memory's bandwidth, all collectives
over their links. No step is faster than the longest of them (everything overlaps), and one that
overlaps nothing takes their sum; a real one lies between, or beyond where kernels are slower.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from lvm_jax import devices
from lvm_jax.model.transformer_config import Products
from lvm_jax.planning.chips import Chip
from lvm_jax.planning.collectives import Collective
from lvm_jax.planning.network import Network

Limit = Literal["compute", "memory", "network"]
_SECONDS_PER_DAY = 86_400.0
_SECONDS_PER_HOUR = 3_600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roofline:
    """Bounds of one step; times are seconds per step.

    Attributes:
        compute_seconds: FLOPs of a device / its peak, those of eight bits / theirs.
        memory_seconds: bytes of a device / its memory's bandwidth.
        network_seconds: the collectives, one after another.
        network_by_axes: the same by mesh axes, such as {"fsdp": 0.2, "data, fsdp": 0.01}.
        model_flops: of a step, all devices, without recomputation.
        tokens: of a step.
        num_devices: JAX devices.
        num_chips: what is paid for.
        peak_flops: per second and device.
    """

    compute_seconds: float
    memory_seconds: float
    network_seconds: float
    network_by_axes: Mapping[str, float]
    model_flops: float
    tokens: int
    num_devices: int
    num_chips: int
    peak_flops: float

    @property
    def limit(self) -> Limit:
        """Which of the three takes longest."""
        times: dict[Limit, float] = {
            "compute": self.compute_seconds,
            "memory": self.memory_seconds,
            "network": self.network_seconds,
        }
        return max(times, key=lambda name: times[name])

    @property
    def overlapped_seconds(self) -> float:
        """Of a step in which all three run at once: the least time."""
        return max(self.compute_seconds, self.memory_seconds, self.network_seconds)

    @property
    def serial_seconds(self) -> float:
        """Of a step in which nothing overlaps."""
        return self.compute_seconds + self.memory_seconds + self.network_seconds

    def mfu(self, seconds: float | None = None) -> float:
        """Model FLOPs utilisation of a step of so many seconds; None: at best, the bound."""
        seconds = self.overlapped_seconds if seconds is None else seconds
        return self.model_flops / (seconds * self.num_devices * self.peak_flops)

    def tokens_per_second(self, seconds: float | None = None) -> float:
        """Of all devices; see `mfu`."""
        return self.tokens / (self.overlapped_seconds if seconds is None else seconds)

    def days(self, tokens: float, seconds: float | None = None) -> float:
        """To train on so many tokens; see `mfu`."""
        return tokens / self.tokens_per_second(seconds) / _SECONDS_PER_DAY

    def chip_hours(self, tokens: float, seconds: float | None = None) -> float:
        """To train on so many tokens; see `mfu`."""
        hours = tokens / self.tokens_per_second(seconds) / _SECONDS_PER_HOUR
        return hours * self.num_chips

    def cost(
        self, tokens: float, price_per_chip_hour: float, seconds: float | None = None
    ) -> float:
        """Of training on so many tokens, in the price's currency; see `mfu`."""
        return self.chip_hours(tokens, seconds) * price_per_chip_hour


def bound(
    chip: Chip,
    flops: float,
    bytes_moved: float,
    collectives: Sequence[Collective],
    *,
    network: Network,
    model_flops: float,
    tokens: int,
    eight_bit: float = 0.0,
    products: Products = "compute",
) -> Roofline:
    """The bounds of a step.

    Args:
        chip: what it runs on.
        flops: executed in a step, all devices together (`flops.FlopsCount.total`).
        bytes_moved: between a device and its memory in a step (`traffic.Traffic.total`).
        collectives: of a step (`collectives.find`).
        network: between the devices of the mesh.
        model_flops: of a step, all devices together (`flops.FlopsCount.model`).
        tokens: of a step.
        eight_bit: what of `flops` is of operands of eight bits.
        products: which these are.

    Raises:
        ConfigError: the chip has no such products. Its field is products.
    """
    num_devices = len(network.islands)
    by_axes: dict[str, float] = collections.defaultdict(float)
    for collective in collectives:
        by_axes[", ".join(collective.axes)] += network.seconds(collective)
    rate = devices.product_flops(chip.device_kind, products)
    assert rate is not None, "every chip's peak is listed"
    return Roofline(
        compute_seconds=((flops - eight_bit) / chip.peak.flops + eight_bit / rate) / num_devices,
        memory_seconds=bytes_moved / chip.peak.bandwidth,
        network_seconds=sum(by_axes.values()),
        network_by_axes=dict(by_axes),
        model_flops=model_flops,
        tokens=tokens,
        num_devices=num_devices,
        num_chips=-(-num_devices // chip.devices),
        peak_flops=chip.peak.flops,
    )
