"""What runs, in which order, beside what, and how it ends: with commands that only pretend."""

import functools
import json
import os
import signal
import sys
import threading
import time

import pytest

from lvm_jax.training.stopping import RunStoppedError
from studies import conductor as conductor_lib
from studies import pool as pool_lib
from studies import results
from studies.conductor import Conductor
from studies.finishing import Corpus, Places
from tests.tools.studies import made_up

SWEEP = "all_*_c*_seed0"
WAITING = """
import signal, sys, time
def save(*_):
    print("saved")
    sys.exit(9)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


class Pretended(Conductor):
    """Writes results without training; runs whose names match `broken` fail."""

    broken: tuple[str, ...] = ()
    waits = False

    def commands(self, job):
        if job.name in self.broken:
            return [[sys.executable, "-c", "print('boom'); raise SystemExit(3)"]]
        if self.waits:
            return [[sys.executable, "-c", WAITING]]
        file = results.path(self.places.results, job.name)
        value = json.dumps(made_up.of_job(job))
        # Whole or not there, as results are written: they are read all the time.
        write = f"""
import pathlib
partial = pathlib.Path({str(file)!r}).with_suffix(".partial")
partial.write_text({value!r})
partial.rename({str(file)!r})
"""
        return [[sys.executable, "-c", "print('trained')"], [sys.executable, "-c", write]]

    def flops(self, job):
        return 1e12


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(conductor_lib, "_LOOK_SECONDS", 0.02)
    (tmp_path / "results").mkdir()
    return Places(out=tmp_path, corpus=tmp_path, results=tmp_path / "results")


def pretended(places, only=(), studies=("scaling",)):
    return Pretended(studies, only, places, Corpus(steps=10))


def test_the_sweep_decides_what_comes_after_it_and_a_failure_ends_nothing(places):
    made = pretended(places, only=(SWEEP, "video*"), studies=("scaling", "data"))
    made.broken = ("all_s_c0.64_seed0", "video_s_c0.64_seed1")
    assert conductor_lib.conduct(made, parallel=3) == 1
    found = results.read(places.results)
    # c = 0.64 was best for xs but came to nothing for s.
    assert made.failed == {"all_s_c0.64_seed0": "boom"}
    chosen = json.loads((places.results / "choice.json").read_text())
    assert chosen["c"] in (0.32, 1.28) and chosen["loss"]["s"]["0.64"] is None
    assert {f"all_m_c{chosen['c']:g}_seed0", f"video_s_c{chosen['c']:g}_seed2"} <= set(found)
    assert (places.out / "logs" / "all_s_c0.64_seed0.log").read_text() == "boom\n"
    # Started again it tries only what failed, and keeps the choice.
    again = pretended(places, only=(SWEEP, "video*"), studies=("scaling", "data"))
    assert again.next([]).name == "all_s_c0.64_seed0"
    assert conductor_lib.conduct(again, parallel=1) == 0
    assert json.loads((places.results / "choice.json").read_text()) == chosen
    assert again.next([]) is None


def test_what_runs_or_waits_for_another_is_not_begun(places):
    made = pretended(places, studies=("context",))
    assert made.next([]).name == "all_xs_c0.32_seed0"
    assert made.next(["all_xs_c0.32_seed0"]).name == "all_xs_c0.64_seed0"
    for name, values in made_up.study().items():
        if name.startswith("all_") and "_l_" not in name:
            results.write(places.results, name, values)
    # Its context needs the run itself; others do not wait for that.
    assert made.next([]).name == "all_l_c0.64_seed0"
    assert made.next(["all_l_c0.64_seed0"]).name == "context_all_m_c0.64_seed0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_runs_save_and_ends_the_study(places, number, request):
    # Tests that were begun in the background ignore SIGINT, and so would the study.
    def before(*_): ...

    request.addfinalizer(functools.partial(signal.signal, number, signal.signal(number, before)))
    made = pretended(places)
    made.waits = True

    def interrupt():
        logs = [places.out / "logs" / f"all_xs_c{c}_seed0.log" for c in ("0.32", "0.64")]
        while not all(log.exists() and log.read_text() for log in logs):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    with pytest.raises(
        RunStoppedError, match=f"stopped by {number.name}; the same command goes on"
    ) as stop:
        conductor_lib.conduct(made, parallel=2)
    assert stop.value.exit_code == 128 + number
    assert (places.out / "logs" / "all_xs_c0.32_seed0.log").read_text() == "ready\nsaved\n"
    assert not made.failed and signal.getsignal(number) is before


def test_what_ends_without_results_is_a_failure_and_not_begun_again(places):
    made = pretended(places, only=("all_xs_c0.32*",))
    made.commands = lambda job: [[sys.executable, "-c", ""]]
    assert conductor_lib.conduct(made, parallel=1) == 1
    assert made.failed == {"all_xs_c0.32_seed0": "it ended without results"}


def test_runs_beside_each_other_share_the_processors():
    known = os.sched_getaffinity(0)
    assert pool_lib._shares(1) == [set()]
    if len(known) > 1:
        shares = pool_lib._shares(2)
        assert shares[0] | shares[1] == known and not shares[0] & shares[1]
    assert pool_lib._shares(len(known) + 1) == [set()] * (len(known) + 1)
    with pool_lib._on({min(known)}):
        assert os.sched_getaffinity(0) == {min(known)}
    assert os.sched_getaffinity(0) == known


def test_commands_are_those_of_the_tools(places):
    made = Conductor(("scaling",), (), places, Corpus(steps=7, codes=99))
    job = made.next([])
    train, measure = made.commands(job)
    assert train[1].endswith("tools/train.py") and measure[1].endswith("tools/study.py")
    assert train[2].endswith(
        "experiments/study/model.py:size=xs,mixture=all,c=0.32,seed=0,few=1,packing=sentence,"
        f"root={places.out},steps=7,codes=99"
    )
    assert "--measure=all_xs_c0.32_seed0" in measure
