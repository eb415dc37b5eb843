"""From logits to one id per row: temperature, top-k, top-p, and randomness that belongs to a row.

Legend: B rows, V ids that may be drawn (the codes; special ids are cut off before).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How an id is drawn from a distribution.

    Attributes:
        temperature: divides the logits; 0 takes the most probable id.
        top_k: keep the k most probable ids; 0 keeps all.
        top_p: of what top_k keeps, keep the fewest ids whose probabilities sum to at least this,
            in (0, 1]. Ids tied with the last one kept stay too, here and in top_k.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        # A non-finite temperature would pass a plain "< 0" test and give NaN logits.
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(
                Field("temperature"), f"={self.temperature} must be 0 (greedy) or a positive number"
            )
        configs.require_at_least(self, 0, "top_k")
        if not 0 < self.top_p <= 1:
            raise ConfigError(
                Field("top_p"), f"={self.top_p} must be in (0, 1]; 1 keeps everything"
            )


def row_keys(seed: int | Array, candidates: Int[Array, " B"]) -> Key[Array, " B"]:
    """One random stream per row, from (seed, candidate) alone.

    Neither the row's place nor the batch's size enters: a prompt asked alone and in a batch draws
    the same numbers. The generator is named, so that `jax_default_prng_impl` changes nothing.
    """
    base = jax.random.key(seed, impl="threefry2x32")
    return jax.vmap(lambda candidate: jax.random.fold_in(base, candidate))(candidates)


def sample(
    logits: Float[Array, "B V"],
    keys: Key[Array, " B"],
    position: Int[Array, ""] | int,
    config: SamplingConfig,
) -> Int[Array, " B"]:
    """Draws one id per row.

    Args:
        logits: float32, over the ids that may be drawn and no others.
        keys: from `row_keys`.
        position: place of the new id in the answer; folded into each row's key.
        config: temperature, top-k, top-p.
    """
    if config.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    kept = keep_top_p(keep_top_k(logits / config.temperature, config.top_k), config.top_p)

    def draw(key, logits_V):
        return jax.random.categorical(jax.random.fold_in(key, position), logits_V)

    return jax.vmap(draw)(keys, kept).astype(jnp.int32)


def keep_top_k(logits: Float[Array, "B V"], top_k: int) -> Float[Array, "B V"]:
    """Sets all but the k largest logits of a row to -inf; k = 0 keeps all."""
    if top_k == 0 or top_k >= logits.shape[-1]:
        return logits
    threshold_B1 = jax.lax.top_k(logits, top_k)[0][:, -1:]
    return jnp.where(logits >= threshold_B1, logits, -jnp.inf)


def keep_top_p(logits: Float[Array, "B V"], top_p: float) -> Float[Array, "B V"]:
    """Sets all but the smallest set of ids with probability >= top_p to -inf."""
    if top_p >= 1:
        return logits
    descending = -jnp.sort(-logits, axis=-1)
    probabilities = jax.nn.softmax(descending, axis=-1)
    # The mass before an id decides, so that the most probable one always stays.
    mass_before = jnp.cumsum(probabilities, axis=-1) - probabilities
    num_kept_B = jnp.sum(mass_before < top_p, axis=-1)
    threshold_B1 = jnp.take_along_axis(descending, num_kept_B[:, None] - 1, axis=-1)
    return jnp.where(logits >= threshold_B1, logits, -jnp.inf)
