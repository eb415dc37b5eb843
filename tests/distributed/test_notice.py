"""What a platform says about a machine that goes, and what comes of it."""

import signal

import pytest

from lvm_jax.distributed import notice
from lvm_jax.distributed.distributed_config import DistributedConfig
from tests.distributed import metadata_server


@pytest.fixture
def metadata():
    with metadata_server.serving() as metadata:
        yield metadata


@pytest.mark.parametrize(
    "name, word", [("preempted", "TRUE"), ("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")]
)
def test_what_is_said_is_heard_at_the_next_time_of_asking(metadata, name, word):
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            metadata.said[name] = word

    assert notice.wait_until_told(metadata.address, wait) == f"{name}={word}"
    assert len(waits) == 3 and all(1 <= seconds <= 10 for seconds in waits)


def test_a_server_that_refuses_for_a_while_is_asked_again(metadata, caplog):
    metadata.said = {}

    def wait(_):
        metadata.said = {"preempted": "TRUE"} if metadata.asked > 5 else {}

    assert notice.wait_until_told(metadata.address, wait) == "preempted=TRUE"
    assert caplog.text.count("does not answer") == 1


def test_a_notice_is_a_sigterm_to_the_main_thread(metadata):
    metadata.said["preempted"] = "TRUE"
    received = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        notice.watch(metadata.address).join(60)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert received == [signal.SIGTERM]


def test_nobody_is_asked_elsewhere(tmp_path):
    (tmp_path / "google").write_text("Google Compute Engine\n")
    (tmp_path / "other").write_text("Standard PC\n")
    for whom, product in (("none", "google"), ("auto", "other"), ("auto", "missing")):
        assert notice.watch(whom, product=tmp_path / product) is None
    assert notice._is_google(tmp_path / "google")


def test_whom_to_ask_is_checked():
    DistributedConfig(preemption_notice="http://localhost:1/instance")
    with pytest.raises(ValueError, match="preemption_notice='gce' must be 'auto', 'none' or a URL"):
        DistributedConfig(preemption_notice="gce")
