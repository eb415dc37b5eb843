"""Where the processes of a run are."""

import pytest

from lvm_jax.distributed.distributed_config import DistributedConfig, Place, find_place

SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_NODELIST": "node[3-4]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize(
    "values, key",
    [
        ({"coordinator_address": "nowhere"}, "coordinator_address"),
        (
            {"coordinator_address": "host:1", "num_processes": 2, "process_id": 2},
            "process_id=2",
        ),
    ],
)
def test_explicit_distribution_is_checked(values, key):
    with pytest.raises(ValueError, match=key):
        DistributedConfig(mode="explicit", **values)


def test_a_timeout_is_positive():
    with pytest.raises(ValueError, match="timeout=0"):
        DistributedConfig(timeout=0.0)


def test_one_process_needs_no_place():
    assert find_place(DistributedConfig()) is None


def test_explicit_places_are_taken_as_they_are():
    place = find_place(
        DistributedConfig(
            mode="explicit",
            coordinator_address="[::1]:123",
            num_processes=3,
            process_id=2,
            timeout=7.0,
        )
    )
    assert place == Place(address="[::1]:123", count=3, index=2, timeout=7.0)
    assert place.host_and_port == ("::1", 123)
    assert (place.names([1]), place.names([0, 2])) == ("process 1 of 3", "processes 0, 2 of 3")


def test_auto_asks_the_cluster(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    place = find_place(DistributedConfig(mode="auto"))
    assert (place.count, place.index, place.local_device_ids) == (4, 2, [0])
    assert place.address.startswith("node3:")


@pytest.mark.parametrize(
    "environment, reason",
    [({}, "finds no cluster"), ({**SLURM, "SLURM_NTASKS": "four"}, "cannot be read .*four")],
)
def test_auto_off_a_cluster_names_the_key_and_the_way_out(monkeypatch, environment, reason):
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    message = rf"^mode='auto': .*{reason}.* use mode=single"
    with pytest.raises(ValueError, match=message):
        find_place(DistributedConfig(mode="auto"))
