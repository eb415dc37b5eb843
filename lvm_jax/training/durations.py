"""Durations in steps, examples, tokens, epochs or percent of the run, resolved once to steps."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from lvm_jax.configs import ConfigError, Field, within

T = TypeVar("T", bound=Any)
Duration = int | str
"""300 (steps), "300 steps", "1m examples", "50b tokens", "2.5 epochs" or "5%" of the run.

Where it is said, also a time: "90 s", "20 min" or "2 hours"."""

_FORM = re.compile(r"(?P<number>[0-9][0-9_]*(\.[0-9]+)?)(?P<scale>[kmbKMB]?)\s*(?P<unit>[a-z]+|%)?")
_TIME = re.compile(
    r"(?P<number>[0-9][0-9_]*(\.[0-9]+)?)\s*(?P<unit>s|secs?|seconds?|mins?|minutes?|h|hours?)"
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_EXAMPLES = "300, '300 steps', '1m examples', '50b tokens', '2.5 epochs' or '5%'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
    """What one step consumes; None where a training has no such unit.

    Attributes:
        examples_per_step: rows or images in a global batch.
        tokens_per_step: tokens in a global batch.
        examples_per_epoch: rows or images in the data set.
        run_steps: length of the whole run, for percentages.
    """

    examples_per_step: int
    tokens_per_step: int | None = None
    examples_per_epoch: int | None = None
    run_steps: int | None = None


def to_steps(duration: Duration, rates: Rates, name: str) -> int:
    """Resolves a duration to a whole number of steps, rounded up.

    Args:
        duration: see `Duration`.
        rates: what a step consumes.
        name: the field that it is from, for error messages.

    Raises:
        ConfigError: a form or unit that is unknown, or one that this training does not have.
    """
    if isinstance(duration, int):
        if duration < 0:
            raise ConfigError(Field(name), f"={duration} must not be negative")
        return duration
    if seconds(duration) is not None:
        raise ConfigError(
            Field(name),
            f"={duration!r} is a time, which only checkpoints can follow: what happens at a step "
            f"does not depend on a machine's speed; write {_EXAMPLES}",
        )
    match = _FORM.fullmatch(duration.strip())
    if match is None:
        raise ConfigError(Field(name), f"={duration!r} is no duration; write {_EXAMPLES}")
    amount = float(match["number"].replace("_", "")) * _SCALES[match["scale"].lower()]
    unit = match["unit"] or "steps"
    steps_per_unit = _steps_per_unit(unit.removesuffix("s"), rates)
    if steps_per_unit is None:
        raise ConfigError(Field(name), f"={duration!r}: no unit {unit!r} here; write {_EXAMPLES}")
    # The tolerance keeps 0.1 + 0.2 style noise from adding a step.
    return math.ceil(amount * steps_per_unit - 1e-9)


def seconds(duration: Duration) -> float | None:
    """A duration that is a time, in seconds; None for any other."""
    match = None if isinstance(duration, int) else _TIME.fullmatch(duration.strip())
    if match is None:
        return None
    return float(match["number"].replace("_", "")) * _SECONDS[match["unit"][0]]


def resolved(duration: Duration) -> int:
    """A duration that is in steps already, as in a config after its `resolve`."""
    assert isinstance(duration, int), f"{duration!r} is not resolved to steps"
    return duration


def _steps_per_unit(unit: str, rates: Rates) -> float | None:
    if unit == "step":
        return 1.0
    if unit == "example":
        return 1 / rates.examples_per_step
    if unit == "token" and rates.tokens_per_step:
        return 1 / rates.tokens_per_step
    if unit == "epoch" and rates.examples_per_epoch:
        return rates.examples_per_epoch / rates.examples_per_step
    if unit == "%" and rates.run_steps is not None:
        return rates.run_steps / 100
    return None


def resolve_experiment(experiment: T, rates: Rates, optimizers: Sequence[str]) -> T:
    """An experiment with every duration of its loop and its optimizers in steps.

    Args:
        experiment: a dataclass with a `loop` (`loop.LoopConfig`).
        rates: what its step consumes; the run's length follows from its loop.
        optimizers: names of its `optimizer.OptimizerConfig`s.

    Raises:
        ConfigError: a duration that cannot be resolved.
    """
    with within("loop"):
        in_steps = {"loop": experiment.loop.resolve(rates)}
    rates = dataclasses.replace(rates, run_steps=in_steps["loop"].num_steps)
    for name in optimizers:
        with within(name):
            in_steps[name] = getattr(experiment, name).resolve(rates)
    return dataclasses.replace(experiment, **in_steps)
