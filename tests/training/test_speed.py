import types

from lvm_jax.training import speed


def test_the_first_step_is_timed_from_its_batch_on(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(speed, "time", clock)

    def step(measured, wait, seconds):
        with measured.waiting():
            clock.now += wait
        clock.now += seconds
        return measured.step_done()

    measured = speed.Speed(speed.Work(unit="images", units_per_step=12))
    clock.now += 100  # the state is made or restored
    with measured.paused():
        clock.now += 10  # an evaluation that was due
    assert step(measured, wait=3, seconds=20) == 23
    assert measured.take_window() == {}
    assert step(measured, wait=1, seconds=2) is None
    with measured.paused():
        clock.now += 10
    assert step(measured, wait=2, seconds=4) is None
    window = measured.take_window()
    assert window["perf/sec_per_step"] == 4.5 and window["data/wait_sec"] == 1.5
