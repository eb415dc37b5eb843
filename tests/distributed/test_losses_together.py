"""Four devices train alike whether one process has them, two, or four: with the same losses.

Over gloo they are the same bit for bit, since every device is one of gloo's ranks whoever owns it,
and one compiled program adds in one order. A process alone has JAX's own collectives between its
devices instead; they add four numbers in another order, which is all that differs.

What trains here sums its gradients by all-reduces: XLA makes no reduce-scatter of them on CPUs.
Rows shared by devices (`context`) do use one, through gloo, whose results have been reported to be
wrong for parts of 4 MiB (https://github.com/jax-ml/jax/issues/40830): with jaxlib 0.10.2 and
0.12.0.1 none of 240 such parts was.
"""

import json
import sys

import numpy as np
import pytest

from tests.distributed.toy_runs import ROOT, Run, free_address

TOOL = ROOT / "tests" / "distributed" / "toy_losses.py"
NUM_DEVICES = 4
# name -> processes, and whether JAX's distributed runtime joins them.
RUNS = {"alone": (1, False), "gloo 1": (1, True), "gloo 2": (2, True), "gloo 4": (4, True)}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Of each of RUNS, {metric: float32 [steps]}; all of them run at once."""
    root, running = tmp_path_factory.mktemp("losses"), {}
    for name, (count, joined) in RUNS.items():
        address = free_address() if joined else "-"
        commands = {i: [sys.executable, TOOL, count, i, address, root / name] for i in range(count)}
        environment = {"JAX_NUM_CPU_DEVICES": str(NUM_DEVICES // count)}
        running[name] = Run(root, commands, dict.fromkeys(commands, environment))
    try:
        for run in running.values():
            for one in run.end():
                assert one.code == 0, one.stderr
    finally:
        for run in running.values():
            run.kill()
    steps = {name: json.loads((root / name).read_text()) for name in RUNS}
    return {
        name: {key: np.float32([step[key] for step in found]) for key in found[0]}
        for name, found in steps.items()
    }


@pytest.mark.parametrize("name", ["gloo 2", "gloo 4"])
def test_processes_share_the_devices_of_one_bit_for_bit(values, name):
    for key, expected in values["gloo 1"].items():
        np.testing.assert_array_equal(values[name][key], expected, err_msg=key)


def test_one_process_without_gloo_differs_by_the_order_of_sums_alone(values):
    # The last bit (6e-8) of gradients, which reaches the parameters of five updates.
    for key, expected in values["gloo 1"].items():
        np.testing.assert_allclose(values["alone"][key], expected, rtol=1e-6, err_msg=key)


def test_it_trains(values):
    """Every step changes what the next one computes, so that an update that is lost shows."""
    norms = values["gloo 1"]["param_norm"]
    assert np.all(np.diff(norms) > 1e-3 * norms[:-1])
