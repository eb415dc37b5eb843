"""Updates that are left out: their gradient is not finite, or far larger than gradients were.

A few such batches are met by every long run; without the update the run goes on as though they had
not been there. Where they become many the run must end: they are no accident.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field

Record = dict[str, Array]
"""{"total", "in_a_row": int32, updates left out; "log_norm": float32, the running mean; "seen":
int32, the norms in it}."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkipConfig:
    """Which updates are left out, and how many may be before the run ends.

    Norms are compared with their running geometric mean: their logarithms are what varies evenly,
    so that one great norm hardly moves it. What is left out enters it as though it had just been
    allowed: the mean follows norms that have grown for good.

    Attributes:
        max_in_a_row: more updates left out one after another end the run. 0: none is left out, and
            the first loss or gradient that is not finite ends it.
        outlier_factor: gradients whose norm is more than so many times the mean are left out too;
            0 leaves out only what is not finite.
        window: updates that the mean is of, about; before as many were seen no gradient is too
            large, since norms fall fast at first.
    """

    max_in_a_row: int = 0
    outlier_factor: float = 10.0
    window: int = 100

    def __post_init__(self) -> None:
        configs.require_at_least(self, 0, "max_in_a_row")
        configs.require_at_least(self, 1, "window")
        if self.outlier_factor != 0 and not self.outlier_factor > 1:
            raise ConfigError(
                *(Field("outlier_factor"), f"={self.outlier_factor} must be greater than 1, or 0 "),
                "to leave out only what is not finite",
            )


NO_SKIPPING = SkipConfig()


def new_record() -> Record:
    """Of a run that has made no update."""
    count = jnp.zeros((), jnp.int32)
    return {
        "total": count,
        "in_a_row": count,
        "log_norm": jnp.zeros((), jnp.float32),
        "seen": count,
    }


def judge(config: SkipConfig, record: Record, values: Mapping[str, Array]) -> tuple[Array, Record]:
    """Whether an update is made, and the record with it.

    Args:
        config: with `max_in_a_row` above 0.
        record: of the updates before.
        values: of this one: float32 "loss", and "grad_norm" before clipping.

    Returns:
        (bool scalar, record).
    """
    loss, norm = values["loss"], values["grad_norm"]
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    counts = finite & (norm > 0)  # a batch of padding alone says nothing
    log_norm = jnp.log(jnp.where(counts, norm, 1.0))
    good = finite
    if config.outlier_factor:
        most = record["log_norm"] + jnp.log(jnp.float32(config.outlier_factor))
        too_large = counts & (record["seen"] >= config.window) & (log_norm > most)
        good = finite & ~too_large
        log_norm = jnp.where(too_large, most, log_norm)
    # A plain mean at first, so that it owes nothing to where it begins.
    rate = 1 / jnp.minimum(record["seen"] + 1, config.window).astype(jnp.float32)
    moved = record["log_norm"] + rate * (log_norm - record["log_norm"])
    skipped = (~good).astype(jnp.int32)
    return good, {
        "total": record["total"] + skipped,
        "in_a_row": (record["in_a_row"] + 1) * skipped,
        "log_norm": jnp.where(counts, moved, record["log_norm"]),
        "seen": record["seen"] + counts.astype(jnp.int32),
    }


def metrics(record: Record) -> dict[str, Array]:
    """float32: skipped (1 if the newest update was left out), skipped_in_a_row, skipped_in_all."""
    in_a_row, total = (record[key].astype(jnp.float32) for key in ("in_a_row", "total"))
    return {
        "skipped": jnp.minimum(in_a_row, 1.0),
        "skipped_in_a_row": in_a_row,
        "skipped_in_all": total,
    }
