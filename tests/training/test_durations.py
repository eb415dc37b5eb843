import pytest

from lvm_jax.training import durations

RATES = durations.Rates(
    examples_per_step=4, tokens_per_step=400, examples_per_epoch=10, run_steps=200
)


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        (0, 0),
        (300, 300),
        ("300", 300),
        ("1_000 steps", 1000),
        ("2k steps", 2000),
        ("1 step", 1),
        ("9 examples", 3),  # rounded up: nine examples need a third step of four
        ("4k tokens", 10),
        ("1b tokens", 2_500_000),
        ("1 epoch", 3),
        ("2 epochs", 5),
        ("0.4 epochs", 1),
        ("5%", 10),
        ("0.1%", 1),
    ],
)
def test_resolves_to_steps(duration, steps):
    assert durations.to_steps(duration, RATES, "num_steps") == steps


@pytest.mark.parametrize("duration", ["soon", "3 weeks", "-1 steps", "", "1 2 steps"])
def test_other_forms_are_refused_by_name(duration):
    with pytest.raises(ValueError, match=r"num_steps=.*write 300"):
        durations.to_steps(duration, RATES, "num_steps")


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("90 s", 90),
        ("20 min", 1200),
        ("20mins", 1200),
        ("20 mins", 1200),
        ("1.5 hours", 5400),
        ("1 h", 3600),
    ],
)
def test_times_are_for_those_who_ask(duration, seconds):
    assert durations.seconds(duration) == seconds
    with pytest.raises(ValueError, match=r"eval_every=.* is a time, which only checkpoints"):
        durations.to_steps(duration, RATES, "eval_every")


@pytest.mark.parametrize("duration", [20, "20", "20 steps", "5%", "20 m", "1m examples", "-1 s"])
def test_what_is_no_time_has_no_seconds(duration):
    assert durations.seconds(duration) is None


def test_a_unit_that_the_training_lacks_is_refused():
    images = durations.Rates(examples_per_step=4)
    for duration in ("5 tokens", "1 epoch", "5%"):
        with pytest.raises(ValueError, match="no unit"):
            durations.to_steps(duration, images, "log_every")
    with pytest.raises(ValueError, match="must not be negative"):
        durations.to_steps(-1, images, "log_every")
