import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lvm_jax import trees
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.training import durations, optimizer

RATES = durations.Rates(examples_per_step=1, run_steps=100)


def config(**values):
    return optimizer.OptimizerConfig(**values).resolve(RATES)


def test_schedule_warms_up_decays_and_stays():
    lr = optimizer.schedule(config(peak_lr=1.0, end_lr=0.1, warmup_steps=10, decay_steps=50))
    rates = np.array([lr(count) for count in (0, 5, 10, 30, 50, 90)])
    # 30 is the middle of the cosine: half-way between peak and end.
    np.testing.assert_allclose(rates, [0.0, 0.5, 1.0, 0.55, 0.1, 0.1], rtol=1e-6)


def test_without_decay_steps_the_cosine_takes_the_whole_run():
    lr = optimizer.schedule(config(peak_lr=1.0, end_lr=0.2, warmup_steps=0))
    assert float(lr(0)) == 1.0
    np.testing.assert_allclose(lr(100), 0.2, rtol=1e-6)
    assert float(lr(99)) > 0.2


def test_warmup_beyond_the_decay_is_refused():
    with pytest.raises(ValueError, match="warmup_steps=60 exceeds decay_steps=50"):
        config(warmup_steps="60%", decay_steps=50)


@pytest.mark.parametrize(
    ("key", "value"), [("peak_lr", 0.0), ("b2", 1.0), ("clip_norm", -1.0), ("weight_decay", -0.1)]
)
def test_bad_values_are_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"{key}={value}"):
        optimizer.OptimizerConfig(**{key: value})


def test_matrices_are_decayed_and_norms_and_embeddings_are_not():
    params = transformer.abstract_params(PRESETS["debug"])
    mask = trees.flatten(optimizer.decay_mask(params))
    assert mask.keys() == trees.flatten(params).keys()
    # Stacked norm scales have two dims, so rank alone would decay them.
    kept = {name for name, decayed in mask.items() if not decayed}
    assert kept == {
        "embedding/kernel",
        "final_norm/scale",
        "layers/attention_norm/scale",
        "layers/mlp_norm/scale",
    }


def test_decay_shrinks_exactly_the_decayed():
    params = {"norm": {"scale": jnp.ones((2, 3))}, "dense": {"kernel": jnp.ones((2, 3))}}
    tx = optimizer.make(config(peak_lr=0.5, warmup_steps=0, weight_decay=0.1))
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_array_equal(updates["norm"]["scale"], 0)
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.05, rtol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    params = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    tx = optimizer.make(config(warmup_steps=0, clip_norm=1.0, weight_decay=0.0))
    grads = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([0.0, 4.0])}
    _, state = tx.update(grads, tx.init(params), params)
    moment = optax.tree.get(state, "mu")
    # (1 - b1) times the gradient scaled from norm 5 to norm 1.
    np.testing.assert_allclose(moment["a"], [0.06, 0.0], rtol=1e-6)
    np.testing.assert_allclose(moment["b"], [0.0, 0.08], rtol=1e-6)


def test_a_short_first_moment_is_rounded_once_and_computed_in_float32():
    options = {"warmup_steps": 0, "clip_norm": 0.0, "weight_decay": 0.0}
    params = {"a": jnp.zeros(256)}
    short, whole = (
        optimizer.make(config(first_moment_dtype=dtype, **options))
        for dtype in ("bfloat16", "float32")
    )
    rng = np.random.default_rng(0)
    state, expected = short.init(params), whole.init(params)
    for _ in range(20):
        grads = {"a": jnp.asarray(rng.normal(size=256).astype(np.float32))}
        before = np.asarray(optax.tree.get(state, "mu")["a"], np.float32)
        updates, state = short.update(grads, state, params)
        wanted, expected = whole.update(grads, expected, params)
        moment = optax.tree.get(state, "mu")["a"]
        assert moment.dtype == jnp.bfloat16
        # One rounding of 8 bits of the exact value, where a product in bfloat16 would add another.
        exact = np.float64(0.9) * before + 0.1 * np.float64(grads["a"])
        np.testing.assert_allclose(np.float64(moment), exact, rtol=2**-8, atol=1e-30)
        # Errors of the ten or so moments that count add up to at most as many roundings.
        error = np.abs(updates["a"] - wanted["a"]).max()
        assert 0 <= error <= 0.02 * np.abs(wanted["a"]).max()
    np.testing.assert_array_equal(*(optax.tree.get(s, "nu")["a"] for s in (state, expected)))
