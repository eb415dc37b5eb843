"""How chips are joined: bytes per second of their links, published.

Compute and memory are in `devices.DEVICE_PEAKS`, per JAX device. Networks are counted in one
direction: Google's pages give both directions of all links of a chip together.
"""

import dataclasses
from typing import Literal

from lvm_jax.devices import DEVICE_PEAKS, DevicePeak


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """Published limits of a chip's network, and of its JAX devices.

    Attributes:
        device_kind: of its devices, as `jax.Device.device_kind` has it.
        devices: JAX devices of a chip; they share its links.
        wiring: "torus" of a TPU slice, or the "switch" of a node of GPUs.
        link: bytes/s in one direction: to one neighbour in a torus; into the switch.
        beyond: bytes/s in one direction of a chip's share of the network between slices (the data
            centre's) or between nodes (InfiniBand).
    """

    device_kind: str
    devices: int = 1
    wiring: Literal["torus", "switch"] = "torus"
    link: float
    beyond: float

    @property
    def peak(self) -> DevicePeak:
        """Compute and memory of one JAX device."""
        return DEVICE_PEAKS[self.device_kind]


def _switched(device_kind: str) -> Chip:
    # NVIDIA's data sheets: NVLink 4, 18 links, 900 GB/s in both directions; DGX H100 and H200 have
    # one 400 Gb/s InfiniBand adapter a GPU.
    return Chip(device_kind=device_kind, wiring="switch", link=450e9, beyond=50e9)


_CHIPS = (
    # Jouppi et al. 2023 (TPU v4), Table 4: v3 has 4 links of 70 GB/s, v4 6 of 50 GB/s. The JAX
    # scaling book has 100 and 45. Their share of the data centre's network is not published: v4 as
    # the book's usual 6.25 GB/s a chip, v3 taken to be the same, unconfirmed.
    Chip(device_kind="TPU v3", devices=2, link=70e9, beyond=6.25e9),
    Chip(device_kind="TPU v4", link=50e9, beyond=6.25e9),
    # Cloud TPU, page v5e: 400 GB/s over 4 ports; 2 adapters of 100 Gb/s for 8 chips.
    Chip(device_kind="TPU v5 lite", link=50e9, beyond=3.125e9),
    # Page v5p: 1,200 GB/s in a 3D torus, so 6 links; 50 Gb/s a chip.
    Chip(device_kind="TPU v5", link=100e9, beyond=6.25e9),
    # Page v6e: 800 GB/s over 4 ports; 4 adapters of 200 Gb/s for 8 chips.
    Chip(device_kind="TPU v6 lite", link=100e9, beyond=12.5e9),
    # Page tpu7x: 1,200 GB/s, 3D torus; 100 Gb/s a chip. A chip is two JAX devices.
    Chip(device_kind="TPU7x", devices=2, link=100e9, beyond=12.5e9),
    _switched("NVIDIA H100 80GB HBM3"),
    _switched("NVIDIA H200"),
)
# By `jax.Device.device_kind`; compilers and topologies spell two of them in two ways.
CHIPS: dict[str, Chip] = {chip.device_kind: chip for chip in _CHIPS}
CHIPS["TPU v5e"], CHIPS["TPU v5p"] = CHIPS["TPU v5 lite"], CHIPS["TPU v5"]
CHIPS["TPU v6e"] = CHIPS["TPU v6 lite"]


def chip(device_kind: str) -> Chip:
    """The chip of a kind of device.

    Raises:
        ValueError: its figures are not listed.
    """
    if device_kind not in CHIPS:
        raise ValueError(
            f"device kind {device_kind!r} has no network figures; use one of {', '.join(CHIPS)}"
        )
    return CHIPS[device_kind]
