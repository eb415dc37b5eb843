"""AdamW with a cosine schedule counted in updates, decay on matrices only, clipping by global norm.

The schedule and the logged learning rate both count updates of the parameters, not micro-batches.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from lvm_jax import trees
from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.training import durations

# Parts of a parameter's name that are vectors or look-up tables in spirit, whatever their rank
# (stacked norms have two dims).
NOT_DECAYED = ("norm", "embedding", "codebook", "bias", "scale")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its schedule: linear warm-up to peak_lr, cosine down to end_lr, then constant.

    Attributes:
        peak_lr: learning rate after the warm-up.
        end_lr: learning rate after the decay.
        warmup_steps: updates of the warm-up, from zero; a number or "2%", see `durations`.
        decay_steps: updates until end_lr, warm-up included; None: the whole run.
        b1, b2: decay of the gradient's first and second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled, times the learning rate; on matrices, not on norms or embeddings.
        clip_norm: greatest global norm of the gradient; 0 turns clipping off.
        first_moment_dtype: as which the first moment is stored, "float32" or "bfloat16"; its
            arithmetic is float32. "bfloat16" saves 2 bytes of 16 for each parameter.
        offload: keep the moments in the host's memory, from which each update fetches them: 8 of
            12 bytes for each parameter that lie on the devices between steps. Of a transformer.
    """

    peak_lr: float = 3e-4
    end_lr: float = 3e-5
    warmup_steps: durations.Duration = "2%"
    decay_steps: durations.Duration | None = None
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    first_moment_dtype: Literal["float32", "bfloat16"] = "float32"
    offload: bool = False

    def __post_init__(self):
        if self.peak_lr <= 0:
            raise ConfigError(Field("peak_lr"), f"={self.peak_lr} must be positive")
        require_at_least(self, 0, "end_lr", "weight_decay", "clip_norm")
        for name, value in {"b1": self.b1, "b2": self.b2}.items():
            if not 0 <= value < 1:
                raise ConfigError(Field(name), f"={value} must lie in [0, 1)")

    def resolve(self, rates: durations.Rates) -> "OptimizerConfig":
        """The same with durations in steps; `rates.run_steps` must be set.

        Raises:
            ConfigError: a duration that cannot be resolved, or a warm-up longer than the decay.
        """
        decay = "100%" if self.decay_steps is None else self.decay_steps
        warmup_steps = durations.to_steps(self.warmup_steps, rates, "warmup_steps")
        decay_steps = durations.to_steps(decay, rates, "decay_steps")
        if warmup_steps > decay_steps:
            raise ConfigError(
                Field("warmup_steps"),
                f"={warmup_steps} exceeds ",
                Field("decay_steps"),
                f"={decay_steps}; shorten the warm-up",
            )
        return dataclasses.replace(self, warmup_steps=warmup_steps, decay_steps=decay_steps)


def schedule(config: OptimizerConfig) -> optax.Schedule:
    """Update count -> learning rate; durations must be resolved."""
    assert config.decay_steps is not None, "OptimizerConfig.resolve first"
    warmup_steps = durations.resolved(config.warmup_steps)
    decay_steps = durations.resolved(config.decay_steps)
    warmup = optax.linear_schedule(0.0, config.peak_lr, warmup_steps)
    cosine = optax.cosine_decay_schedule(
        config.peak_lr,
        max(decay_steps - warmup_steps, 1),
        alpha=config.end_lr / config.peak_lr,
    )
    return optax.join_schedules([warmup, cosine], [warmup_steps])


def decay_mask(params: Mapping[str, Any]) -> dict[str, Any]:
    """True for each parameter that is decayed: matrices, not norms, embeddings or biases."""

    def decayed(name: str, leaf: Any) -> bool:
        return leaf.ndim >= 2 and not any(word in name for word in NOT_DECAYED)

    flat = trees.flatten(params)
    return trees.unflatten({name: decayed(name, leaf) for name, leaf in flat.items()})


def make(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clipping, then AdamW with `schedule` and `decay_mask`."""
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    short = config.first_moment_dtype != "float32"
    tx = optax.chain(
        clip,
        optax.adamw(
            schedule(config),
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            mask=decay_mask,
            mu_dtype=config.first_moment_dtype if short else None,
        ),
    )
    return _computed_in_float32(tx) if short else tx


def _computed_in_float32(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Adam whose stored first moment is short: its decay alone would be rounded to that."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        moment = optax.tree.cast(optax.tree.get(state, "mu"), jnp.float32)
        return tx.update(updates, optax.tree.set(state, mu=moment), params)

    return optax.GradientTransformation(tx.init, update)


def state_shardings(
    tx: optax.GradientTransformation,
    abstract_params: Any,
    param_shardings: Any,
    replicated: jax.sharding.Sharding,
    memory: str | None = None,
) -> Any:
    """Shardings of the optimizer's state: moments lie where their parameters lie.

    Args:
        tx: see `make`.
        abstract_params: tree of `jax.ShapeDtypeStruct`.
        param_shardings: the same tree of shardings.
        replicated: for counters.
        memory: kind of memory of the moments; None is their parameters'.
    """
    abstract = jax.eval_shape(tx.init, abstract_params)
    return optax.tree.map_params(
        tx,
        lambda _, sharding: sharding if memory is None else sharding.with_memory_kind(memory),
        abstract,
        param_shardings,
        transform_non_params=lambda _: replicated,
    )
