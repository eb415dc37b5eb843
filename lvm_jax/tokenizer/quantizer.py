"""Vectors <-> codes: nearest lookup, gradients past the choice, and keeping codes alive.

Everything is a pure function of arrays. Letters: N vectors, K codes, D code dimension.
"""

import jax
import jax.numpy as jnp

from lvm_jax.measures import codes

# Scores held at once by `nearest` and `entropy_loss`: 2**22 floats are 16 MiB, whatever the batch
# and the codebook.
_MAX_SCORES = 2**22


def normalize(x: jax.Array) -> jax.Array:
    """Scales vectors along the last axis to unit length; zero vectors stay zero."""
    norm = jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))
    return x / jnp.maximum(norm, 1e-12)


def nearest(codebook_KD: jax.Array, z_ND: jax.Array) -> jax.Array:
    """The nearest code of each vector by squared L2 distance; the lower id wins a tie.

    Scores are made chunk by chunk, so that memory stays bounded for any number of vectors.

    Args:
        codebook_KD: float32 codes.
        z_ND: float32 vectors.

    Returns:
        int32 [N] ids in [0, K).
    """
    num_codes, dim = codebook_KD.shape
    # |z|^2 is the same for all codes of a vector, so it stays out.
    half_norms_K = 0.5 * jnp.sum(codebook_KD * codebook_KD, axis=-1)

    def search(z_CD: jax.Array) -> jax.Array:
        # bf16 passes, the default of some accelerators, would flip near ties.
        dots_CK = jnp.einsum("CD,KD->CK", z_CD, codebook_KD, precision=jax.lax.Precision.HIGHEST)
        return jnp.argmin(half_norms_K[None] - dots_CK, axis=-1).astype(jnp.int32)

    num_vectors = z_ND.shape[0]
    chunk = max(1, _MAX_SCORES // num_codes)
    if num_vectors <= chunk:
        return search(z_ND)
    num_chunks = -(-num_vectors // chunk)
    padded_ND = jnp.pad(z_ND, ((0, num_chunks * chunk - num_vectors), (0, 0)))
    return jax.lax.map(search, padded_ND.reshape(num_chunks, chunk, dim)).reshape(-1)[:num_vectors]


def straight_through(z: jax.Array, code: jax.Array) -> jax.Array:
    """The value of `code` with the gradient of `z`."""
    return z + jax.lax.stop_gradient(code - z)


def rotation(z: jax.Array, code: jax.Array) -> jax.Array:
    """The value of `code` with the gradient turned and scaled as `z` would be to become it.

    Paper: Fifty et al. 2024, arXiv 2410.06424: the rotation in the plane of both vectors and the
    ratio of their lengths are constants of the backward pass. The angle between a gradient and the
    code becomes that between the encoder's gradient and its output.

    Args:
        z: float32 [..., D] vectors.
        code: their codes.
    """
    fixed_z, fixed_code = jax.lax.stop_gradient((z, code))
    from_unit, to_unit = normalize(fixed_z), normalize(fixed_code)
    # Zero for opposite vectors, where a reflection does instead.
    middle = normalize(from_unit + to_unit)
    dot = lambda a, b: jnp.sum(a * b, axis=-1, keepdims=True)
    turned = z - 2.0 * middle * dot(middle, z) + 2.0 * to_unit * dot(from_unit, z)
    lengths = [jnp.sqrt(dot(x, x)) for x in (fixed_code, fixed_z)]
    moved = turned * (lengths[0] / jnp.maximum(lengths[1], 1e-12))
    # What is left is rounding: the decoder must see the very code.
    return moved + jax.lax.stop_gradient(code - moved)


def losses(z: jax.Array, code: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean squared distances between vectors and their codes, by which side they move.

    Returns:
        commitment (moves the encoder; the one that beta weighs) and codebook (moves the codes).
    """
    commitment = jnp.mean(jnp.square(z - jax.lax.stop_gradient(code)))
    codebook = jnp.mean(jnp.square(jax.lax.stop_gradient(z) - code))
    return commitment, codebook


def entropy_loss(codebook_KD: jax.Array, z_ND: jax.Array, temperature: float) -> jax.Array:
    """Low when each vector is sure of its code and all codes are used alike; at least -log K.

    Entropy of each vector's soft choice, averaged, less the entropy of the average choice, in nats;
    choices are softmaxes of negative squared distances. Choices are made chunk by chunk, in the
    backward pass again, so that memory stays bounded for any number of vectors.

    Args:
        codebook_KD: float32 codes; they get a gradient too.
        z_ND: float32 vectors.
        temperature: of the softmax; small ones make choices hard.
    """
    num_codes, (num_vectors, dim) = codebook_KD.shape[0], z_ND.shape

    @jax.checkpoint
    def sums(codebook_KD: jax.Array, z_CD: jax.Array, weights_C: jax.Array):
        """Of a chunk's C vectors: entropies of their choices (scalar), and choices per code [K]."""
        dots_CK = jnp.einsum("CD,KD->CK", z_CD, codebook_KD, precision=jax.lax.Precision.HIGHEST)
        # |z|^2 is the same for all codes, and a softmax does not see it.
        affinity_CK = 2.0 * dots_CK - jnp.sum(codebook_KD * codebook_KD, axis=-1)[None]
        logs_CK = jax.nn.log_softmax(affinity_CK / temperature, axis=-1)
        choices_CK = jnp.exp(logs_CK)
        entropies_C = -jnp.sum(choices_CK * logs_CK, axis=-1)
        return jnp.sum(entropies_C * weights_C), weights_C @ choices_CK

    chunk = min(max(1, _MAX_SCORES // num_codes), num_vectors)
    num_chunks = -(-num_vectors // chunk)
    padding = num_chunks * chunk - num_vectors
    z_ACD = jnp.pad(z_ND, ((0, padding), (0, 0))).reshape(num_chunks, chunk, dim)
    weights_AC = (jnp.arange(num_chunks * chunk) < num_vectors).reshape(num_chunks, chunk)

    def add(total, piece):
        return jax.tree.map(jnp.add, total, sums(codebook_KD, *piece)), None

    pieces = (z_ACD, weights_AC.astype(jnp.float32))
    if num_chunks == 1:
        entropy, choices_K = sums(codebook_KD, *(piece[0] for piece in pieces))
    else:
        zero = (jnp.zeros(()), jnp.zeros(num_codes))
        (entropy, choices_K), _ = jax.lax.scan(add, zero, pieces)
    p_K = choices_K / num_vectors
    average_entropy = -jnp.sum(p_K * jnp.log(jnp.maximum(p_K, 1e-30)))
    return entropy / num_vectors - average_entropy


def moving_average(
    counts_K: jax.Array, sums_KD: jax.Array, z_ND: jax.Array, ids_N: jax.Array, decay: float
) -> tuple[jax.Array, jax.Array]:
    """One step of online k-means: decayed counts and sums of the vectors of each code.

    The codes themselves are `centroids(counts_K, sums_KD, old codes)`.
    """
    new_counts_K = codes.histogram(ids_N, counts_K.shape[0])
    new_sums_KD = jnp.zeros_like(sums_KD).at[ids_N].add(z_ND)
    return (
        decay * counts_K + (1 - decay) * new_counts_K,
        decay * sums_KD + (1 - decay) * new_sums_KD,
    )


def centroids(counts_K: jax.Array, sums_KD: jax.Array, codebook_KD: jax.Array) -> jax.Array:
    """Mean vector of each code; a code with nothing in it stays where it is."""
    has_members_K1 = (counts_K > 1e-6)[:, None]
    return jnp.where(has_members_K1, sums_KD / jnp.maximum(counts_K, 1e-6)[:, None], codebook_KD)


def restart_dead(
    key: jax.Array, codebook_KD: jax.Array, dead_K: jax.Array, z_ND: jax.Array
) -> jax.Array:
    """Moves dead codes onto random vectors of the batch.

    Codes that restart together get different vectors while there are enough of them.

    Args:
        key: random key; the result is a pure function of it and the arrays.
        codebook_KD: float32 codes.
        dead_K: bool, which codes to move.
        z_ND: float32 encoder outputs to choose from.
    """
    num_codes, num_vectors = codebook_KD.shape[0], z_ND.shape[0]
    order_N = jax.random.permutation(key, num_vectors)
    # The n-th dead code takes the n-th vector of a random order.
    place_K = (jnp.cumsum(dead_K) - 1) % num_vectors
    assert place_K.shape == (num_codes,)
    return jnp.where(dead_K[:, None], z_ND[order_N[place_K]], codebook_KD)
