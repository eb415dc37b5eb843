"""Whether training and held-out loss have parted."""

import pytest

from lvm_jax.evaluation.report import losses, wording


def lines(training, held_out=()):
    train_lines = [{"step": step, "train/loss": loss} for step, loss in enumerate(training, 1)]
    return train_lines + [{"step": step, "eval/held_out/loss": loss} for step, loss in held_out]


@pytest.mark.parametrize(
    ("held_out", "memorised"),
    [
        ([(10, 2.5)], False),
        ([(10, 3.1)], True),  # more than a nat above training
        ([(5, 2.45), (10, 2.5)], False),
        ([(5, 2.3), (10, 2.5)], True),  # risen from its lowest
    ],
)
def test_memorising_is_a_gap_or_a_rise(held_out, memorised):
    summary = losses.from_metrics(lines([4.0] * 9 + [2.0], held_out))
    assert summary.training == 2.0
    assert summary.last == held_out[-1][1]
    assert summary.memorised is memorised
    text = wording.held_out(summary)
    assert text.startswith("Memorised:") is memorised
    assert f"{summary.last:.2f}" in text and "2.00" in text


def test_training_loss_is_that_of_the_last_tenth():
    assert losses.from_metrics(lines([9.0] * 18 + [3.0, 1.0])).training == 2.0


def test_without_held_out_data_nothing_is_claimed():
    summary = losses.from_metrics(lines([0.01]))
    assert not summary.memorised
    assert "eval_data" in wording.held_out(summary)
    assert losses.from_metrics([{"step": 1, "perf/mfu": 0.5}]) is None
