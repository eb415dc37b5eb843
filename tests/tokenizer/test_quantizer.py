"""Lookup against brute force, gradients that go where they should, codes that stay alive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.tokenizer import quantizer

RNG = np.random.default_rng(0)
CODES_KD = RNG.standard_normal((48, 5)).astype(np.float32)
Z_ND = RNG.standard_normal((301, 5)).astype(np.float32)


def brute_force(codes_KD, z_ND):
    distances = ((z_ND[:, None].astype(np.float64) - codes_KD[None]) ** 2).sum(-1)
    return distances.argmin(1)


@pytest.mark.parametrize("max_scores", [2**22, 48 * 100, 48, 1])
def test_nearest_is_brute_force_in_any_chunking(monkeypatch, max_scores):
    monkeypatch.setattr(quantizer, "_MAX_SCORES", max_scores)
    ids = quantizer.nearest(CODES_KD, Z_ND)
    assert ids.dtype == jnp.int32
    np.testing.assert_array_equal(ids, brute_force(CODES_KD, Z_ND))


def test_a_tie_goes_to_the_lower_id():
    codes = jnp.ones((7, 3))
    np.testing.assert_array_equal(quantizer.nearest(codes, jnp.ones((4, 3))), np.zeros(4))


def test_lookup_never_holds_scores_of_all_vectors():
    """16,384 codes and 64 images of 256 ids would be 1 GiB of scores."""
    codes = jax.ShapeDtypeStruct((16384, 8), jnp.float32)
    z = jax.ShapeDtypeStruct((64 * 256, 8), jnp.float32)
    memory = jax.jit(quantizer.nearest).lower(codes, z).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2**27


def test_straight_through_has_the_code_and_the_gradient_of_z():
    z, code = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0])
    value, pullback = jax.vjp(quantizer.straight_through, z, code)
    np.testing.assert_array_equal(value, code)
    dz, dcode = pullback(jnp.array([7.0, 11.0]))
    np.testing.assert_array_equal(dz, [7.0, 11.0])
    np.testing.assert_array_equal(dcode, [0.0, 0.0])


def test_commitment_moves_the_encoder_and_codebook_loss_the_codes():
    z, code = jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]])
    commitment, codebook = quantizer.losses(z, code)
    assert commitment == codebook == 2.5
    d_commitment = jax.grad(lambda z, e: quantizer.losses(z, e)[0], (0, 1))(z, code)
    d_codebook = jax.grad(lambda z, e: quantizer.losses(z, e)[1], (0, 1))(z, code)
    np.testing.assert_array_equal(d_commitment[0], z - code)
    np.testing.assert_array_equal(d_commitment[1], 0 * code)
    np.testing.assert_array_equal(d_codebook[0], 0 * z)
    np.testing.assert_array_equal(d_codebook[1], code - z)


def test_moving_average_settles_on_cluster_means():
    ids = brute_force(CODES_KD, Z_ND)
    counts, sums = jnp.zeros(48), jnp.zeros((48, 5))
    for _ in range(200):
        counts, sums = quantizer.moving_average(counts, sums, Z_ND, ids, 0.9)
    codes = quantizer.centroids(counts, sums, CODES_KD)
    for code in range(48):
        members = Z_ND[ids == code]
        expected = members.mean(0) if len(members) else CODES_KD[code]
        np.testing.assert_allclose(codes[code], expected, rtol=1e-4, atol=1e-5)


def test_restart_moves_the_dead_to_different_vectors_and_leaves_the_living():
    dead = np.zeros(48, bool)
    dead[[3, 7, 40]] = True
    moved = quantizer.restart_dead(jax.random.key(0), CODES_KD, dead, Z_ND)
    np.testing.assert_array_equal(moved[~dead], CODES_KD[~dead])
    sources = [np.flatnonzero((code == Z_ND).all(1)).tolist() for code in np.asarray(moved[dead])]
    assert [len(source) for source in sources] == [1, 1, 1]
    assert len({source[0] for source in sources}) == 3
    again = quantizer.restart_dead(jax.random.key(0), CODES_KD, dead, Z_ND)
    other = quantizer.restart_dead(jax.random.key(1), CODES_KD, dead, Z_ND)
    np.testing.assert_array_equal(moved, again)
    assert (np.asarray(moved) != np.asarray(other)).any()


def test_restart_of_more_codes_than_vectors():
    moved = quantizer.restart_dead(jax.random.key(0), CODES_KD, np.ones(48, bool), Z_ND[:5])
    assert {tuple(code) for code in np.asarray(moved)} == {tuple(z) for z in Z_ND[:5]}


def test_rotation_gives_the_code_and_turns_the_gradient_along():
    """Against the map written as a matrix: lengths' ratio times the rotation of z onto its code."""
    rng = np.random.default_rng(1)
    z, code, pull = rng.standard_normal((3, 5)).astype(np.float32)
    value, back = jax.vjp(lambda z: quantizer.rotation(z, code), z)
    np.testing.assert_allclose(value, code, rtol=1e-6)

    a, b = z / np.linalg.norm(z), code / np.linalg.norm(code)
    # Rodrigues: turns by the angle between a and b in their plane, and leaves all else alone.
    cosine = a @ b
    side = (b - cosine * a) / np.linalg.norm(b - cosine * a)
    plane = np.outer(side, a) - np.outer(a, side)
    turn = np.eye(5) + np.sqrt(1 - cosine**2) * plane + (1 - cosine) * plane @ plane
    np.testing.assert_allclose(turn @ a, b, atol=1e-6)
    scale = np.linalg.norm(code) / np.linalg.norm(z)
    np.testing.assert_allclose(back(pull)[0], scale * turn.T @ pull, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("code", [[-2.0, 0.0], [0.0, 0.0]], ids=["opposite", "zero"])
def test_rotation_is_finite_where_no_rotation_is_defined(code):
    value, back = jax.vjp(lambda z: quantizer.rotation(z, jnp.array(code)), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(value, code)
    assert np.isfinite(back(jnp.ones(2))[0]).all()


def entropy_by_hand(codes_KD, z_ND, temperature):
    distances = ((z_ND[:, None].astype(np.float64) - codes_KD[None]) ** 2).sum(-1)
    choices = np.exp(-(distances - distances.min(1, keepdims=True)) / temperature)
    choices /= choices.sum(1, keepdims=True)
    entropy = lambda p: -np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0), axis=-1)
    return entropy(choices).mean() - entropy(choices.mean(0))


@pytest.mark.parametrize("max_scores", [2**22, 48 * 100])
def test_entropy_loss_in_any_chunking(monkeypatch, max_scores):
    monkeypatch.setattr(quantizer, "_MAX_SCORES", max_scores)
    loss = lambda codes, z: quantizer.entropy_loss(codes, z, 0.7)
    entropy, grads = jax.value_and_grad(loss, argnums=(0, 1))(CODES_KD, Z_ND)
    np.testing.assert_allclose(entropy, entropy_by_hand(CODES_KD, Z_ND, 0.7), rtol=1e-4)
    # Against a difference quotient along a random direction.
    steps = [1e-3 * RNG.standard_normal(x.shape) for x in (CODES_KD, Z_ND)]
    ahead, behind = (
        entropy_by_hand(CODES_KD + sign * steps[0], Z_ND + sign * steps[1], 0.7) for sign in (1, -1)
    )
    along = sum(np.sum(np.asarray(g) * s) for g, s in zip(grads, steps))
    np.testing.assert_allclose(along, (ahead - behind) / 2, rtol=1e-2, atol=1e-6)


def test_entropy_loss_is_least_for_sure_and_even_choices():
    codes = 10 * np.eye(4, dtype=np.float32)
    even, same = np.tile(codes, (3, 1)), np.tile(codes[:1], (12, 1))
    np.testing.assert_allclose(quantizer.entropy_loss(codes, even, 0.1), -np.log(4), rtol=1e-5)
    np.testing.assert_allclose(quantizer.entropy_loss(codes, same, 0.1), 0.0, atol=1e-5)
