"""A moving average of the parameters: smoother than the last ones, often better to evaluate."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lvm_jax.configs import ConfigError, Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """An exponential moving average of the parameters, kept in the state as "ema", float32.

    It is debiased: the parameters after update i of t weigh decay ** (t - i), and those before the
    first update nothing, so that it needs no warm-up.

    Attributes:
        decay: of the weight of older parameters, for each update; about 1 / (1 - decay) updates
            count. 0 keeps no average.
        evaluate: also evaluate the average, as eval/held_out_ema/...
    """

    decay: float = 0.0
    evaluate: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError(Field("decay"), f"={self.decay} must lie in [0, 1)")
        if self.evaluate and not self.decay:
            raise ConfigError(
                *(Field("evaluate"), "=True but there is no average; set ", Field("decay")),
                " to 0.999, for example",
            )


NO_EMA = EmaConfig()


def update(config: EmaConfig, average: Any, params: Any, num_updates: Array) -> Any:
    """The average with one more set of parameters in it.

    Args:
        config: with a decay.
        average: the one before; its values do not matter at the first update.
        params: after the update.
        num_updates: int32, how many updates made them, this one included.
    """
    # 1 - decay ** num_updates, of which float32 would keep little when the decay is close to one.
    weights = -jnp.expm1(num_updates.astype(jnp.float32) * math.log(config.decay))
    rate = (1 - config.decay) / weights
    return jax.tree.map(lambda mean, new: mean + rate * (new - mean), average, params)
