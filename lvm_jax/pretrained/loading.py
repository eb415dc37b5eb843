"""A pair that ships, ready to be asked."""

from lvm_jax.generation.language_model import LanguageModel, load_model
from lvm_jax.pretrained import places
from lvm_jax.tokenizer.codec import Tokenizer, load_tokenizer


def load_pretrained(name: str) -> tuple[LanguageModel, Tokenizer]:
    """Loads a small model and its tokenizer that come with the package.

    Args:
        name: "uvd_mini", of which lvm_jax/pretrained/uvd_mini/MODEL_CARD.md tells more.

    Returns:
        (model, tokenizer), as `load_model` and `load_tokenizer` give them.

    Raises:
        ValueError: there is no such pair, or this copy of the package came without it.
    """
    pair = places.find(name)
    tokenizer = load_tokenizer(pair.tokenizer)
    return load_model(pair.model, tokenizer=tokenizer), tokenizer
