"""What the hub decides, without processes or sockets."""

import pytest

from lvm_jax.distributed import hub as hub_lib
from lvm_jax.distributed import rendezvous
from lvm_jax.distributed.distributed_config import Place
from lvm_jax.distributed.hub import BEYOND, Hub, failure


class Heard:
    """A line that keeps what is sent."""

    def __init__(self):
        self.messages = []

    def send(self, message):
        self.messages.append(message)

    def close(self):
        pass


@pytest.fixture
def hub_of_three():
    """(a hub of three members, what each of them hears)."""
    heard = {index: Heard() for index in range(3)}
    return Hub(Place(address="a:1", count=3, index=0, timeout=50.0), heard), heard


def said(heard, what):
    """What everyone was told of that kind: the same for all."""
    told = [[m for m in line.messages if m["say"] == what] for line in heard.values()]
    assert all(one == told[0] for one in told)
    return told[0]


@pytest.fixture
def clock(monkeypatch):
    """clock(seconds) lets time pass."""
    now = [0.0]
    for module in (hub_lib, rendezvous):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_all_hear_the_first_ones_value_when_the_last_has_come(hub_of_three):
    hub, heard = hub_of_three
    for index in (2, 0):
        hub._hear(index, {"say": "share", "name": "x", "value": index + 5})
    assert said(heard, "shared") == []
    hub._hear(1, {"say": "share", "name": "x", "value": None})
    assert said(heard, "shared") == [{"say": "shared", "name": "x", "value": 5}]


@pytest.mark.parametrize(
    "boundaries, moment", [((4, 6, 5), 6), ((0, 0, 0), 0), ((0, 9, 0), 9), ((7, BEYOND, 8), BEYOND)]
)
def test_a_stop_is_where_no_process_has_been(hub_of_three, boundaries, moment):
    hub, heard = hub_of_three
    hub._hear(1, {"say": "stop", "signal": 15})
    hub._hear(2, {"say": "stop", "signal": 2})  # the first one counts
    assert len(said(heard, "halt")) == 1
    for index, boundary in enumerate(boundaries):
        assert said(heard, "stop") == []
        hub._hear(index, {"say": "boundary", "moment": boundary})
    assert said(heard, "stop") == [{"say": "stop", "moment": moment, "signal": 15}]


def test_a_stop_before_one_is_in_its_loop_ends_all(hub_of_three):
    hub, heard = hub_of_three
    hub._hear(1, {"say": "stop", "signal": 15})
    hub._hear(0, {"say": "boundary", "moment": 1})
    hub._hear(2, {"say": "boundary", "moment": None})
    (failed,) = said(heard, "failed")
    assert failed["code"] == 143 and "SIGTERM before the first step" in failed["reason"]


def test_a_death_explains_the_errors_that_it_causes(hub_of_three, clock):
    hub, heard = hub_of_three
    hub._hear(2, failure("training failed: connection closed by peer", whole=True))
    clock(1)
    hub._look_at_the_clock()
    hub._lost(0)
    hub._hear(1, failure("training failed: connection closed by peer", whole=True))
    clock(10)
    hub._look_at_the_clock()
    (failed,) = said({i: heard[i] for i in (1, 2)}, "failed")
    assert failed["process"] == 0 and failed["reason"] == hub_lib.LOST


def test_without_a_death_the_first_error_is_told(hub_of_three, clock):
    hub, heard = hub_of_three
    hub._hear(2, failure("the disk is full", whole=True))
    hub._hear(1, failure("connection closed by peer", whole=True))
    assert said(heard, "failed") == []
    clock(4)
    hub._look_at_the_clock()
    assert [f["reason"] for f in said(heard, "failed")] == ["the disk is full"]


def test_who_is_awaited_is_said_every_half_minute_and_for_so_long(hub_of_three, clock):
    hub, heard = hub_of_three
    hub._hear(1, {"say": "share", "name": "the save", "value": None})
    for _ in range(10):
        clock(4)
        hub._look_at_the_clock()
    texts = [message["text"] for message in said(heard, "waiting")]
    assert texts == ["waiting for processes 0, 2 of 3 to come to the save (32 s)"]
    clock(11)
    hub._look_at_the_clock()
    (failed,) = said(heard, "failed")
    assert failed["reason"].startswith("processes 0, 2 of 3 did not come to the save within 50 s")
    assert "(distributed.timeout)" in failed["reason"]


def test_the_end_is_told_when_all_are_done(hub_of_three):
    hub, heard = hub_of_three
    for index in range(3):
        assert said(heard, "all_done") == []
        hub._hear(index, {"say": "done"})
    assert len(said(heard, "all_done")) == 1
    hub._lost(1)  # who has heard it leaves
    assert said({0: heard[0]}, "failed") == []
