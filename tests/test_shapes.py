import jax
import jax.numpy as jnp
import jaxtyping
import pytest

from lvm_jax.measures import fidelity
from lvm_jax.tokenizer import vqgan
from lvm_jax.tokenizer.vqgan_config import PRESETS


def images(*shape: int) -> jax.Array:
    return jnp.zeros(shape)


def test_an_array_of_another_rank_is_refused():
    with pytest.raises(jaxtyping.TypeCheckError, match="images_BHWC"):
        vqgan.encode(PRESETS["debug"], {}, images(16, 16, 3))


def test_arrays_that_do_not_fit_each_other_are_refused():
    """One image would silently be compared with each of two."""
    with pytest.raises(jaxtyping.TypeCheckError, match="others_BHWC"):
        fidelity.ssim(images(2, 16, 16, 3), images(1, 16, 16, 3))
