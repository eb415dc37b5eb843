"""What devices say of their memory, by devices that are not there."""

import jax
import pytest

from lvm_jax.training import memory
from tests.training.toy import run


class Device:
    def __init__(self, stats):
        self.stats = stats

    def memory_stats(self):
        if isinstance(self.stats, Exception):
            raise self.stats
        return self.stats


def stats(in_use, peak, limit=100):
    return {"bytes_in_use": in_use, "peak_bytes_in_use": peak, "bytes_limit": limit, "other": 1}


@pytest.mark.parametrize(
    "devices, expected",
    [
        ([stats(5, 9), stats(7, 8)], (7.0, 9.0, 100.0)),
        ([None, None], None),
        ([{"bytes_in_use": 5}], (5.0,)),
        ([jax.errors.JaxRuntimeError("UNIMPLEMENTED: memory stats")], None),
    ],
)
def test_the_fullest_device_counts(monkeypatch, devices, expected):
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(each) for each in devices])
    names = ("memory/in_use_bytes", "memory/peak_bytes", "memory/limit_bytes")
    assert memory.metrics() == dict(zip(names, expected or ()))


def test_lines_have_what_is_counted(monkeypatch, tmp_path):
    from lvm_jax.training import metrics

    monkeypatch.setattr(memory, "_stats", lambda device: stats(5, 9))
    run(tmp_path, 2)
    assert metrics.read_metrics(tmp_path)[-1]["memory/peak_bytes"] == 9.0
