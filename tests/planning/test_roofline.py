"""The three times of a step, and what follows from them."""

import dataclasses

import numpy as np
import pytest

from lvm_jax.planning import chips, network, roofline
from lvm_jax.planning.collectives import Collective

CHIP = chips.chip("TPU v5 lite")
RING = network.Network(
    CHIP, np.zeros(16, int), np.stack([np.zeros(16, int), np.arange(16)], 1), (1, 16), (False, True)
)
GATHER = Collective("all-gather", 3, 16_000_000, ("fsdp",), 16, members=tuple(range(16)))


def bound(flops=0.0, bytes_moved=0.0, collectives=()):
    return roofline.bound(
        CHIP,
        flops,
        bytes_moved,
        collectives,
        network=RING,
        model_flops=0.8 * flops,
        tokens=1000,
    )


# One second each.
COMPUTE, MEMORY = 16 * CHIP.peak.flops, CHIP.peak.bandwidth
NETWORK = [dataclasses.replace(GATHER, bytes=int(100e9 * 16 / 15))]


def test_each_time_is_its_work_over_its_rate():
    line = bound(COMPUTE, MEMORY, NETWORK)
    assert line.compute_seconds == line.memory_seconds == 1
    assert line.network_seconds == pytest.approx(1)
    assert line.network_by_axes == {"fsdp": line.network_seconds}
    assert line.serial_seconds == pytest.approx(3)
    assert line.overlapped_seconds == pytest.approx(1)


@pytest.mark.parametrize(
    "work, limit",
    [
        ((2 * COMPUTE, MEMORY, NETWORK), "compute"),
        ((COMPUTE, 2 * MEMORY, NETWORK), "memory"),
        ((COMPUTE, MEMORY, 2 * NETWORK), "network"),
    ],
)
def test_the_longest_is_the_limit(work, limit):
    line = bound(*work)
    assert line.limit == limit
    assert line.overlapped_seconds == pytest.approx(2)


def test_utilisation_is_of_model_flops():
    assert bound(COMPUTE).mfu() == pytest.approx(0.8)
    assert bound(COMPUTE, MEMORY).mfu(2.0) == pytest.approx(0.4)
    line = bound(COMPUTE, MEMORY, NETWORK)
    assert line.mfu(line.serial_seconds) == pytest.approx(0.8 / 3)


def test_days_hours_and_cost_of_a_run():
    """1,000 tokens a second on 16 chips."""
    line = bound(COMPUTE)
    assert line.tokens_per_second() == 1000
    assert line.days(86.4e6) == pytest.approx(1)
    assert line.chip_hours(86.4e6) == pytest.approx(24 * 16)
    assert line.cost(86.4e6, 1.2) == pytest.approx(1.2 * 24 * 16)
    assert line.cost(86.4e6, 1.2, seconds=2.0) == pytest.approx(2 * 1.2 * 24 * 16)


def test_chips_are_paid_for_not_their_cores():
    cores = dataclasses.replace(RING, chip=chips.chip("TPU7x"))
    line = roofline.bound(cores.chip, 1.0, 1.0, (), network=cores, model_flops=1.0, tokens=1)
    assert (line.num_devices, line.num_chips) == (16, 8)
