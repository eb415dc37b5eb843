"""Large Vision Models in JAX: images as sentences, one transformer, prompts made of pictures."""

import importlib

from lvm_jax.version import __version__

# Name -> the module that has it. Loaded on first use, so that `import lvm_jax` stays cheap and a
# tool can still configure jax.
_LAZY = {
    "generate": "lvm_jax.generation.answers",
    "load_model": "lvm_jax.generation.language_model",
    "load_pretrained": "lvm_jax.pretrained.loading",
    "load_tokenizer": "lvm_jax.tokenizer.codec",
}

__all__ = ["__version__", "generate", "load_model", "load_pretrained", "load_tokenizer"]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'lvm_jax' has no attribute {name!r}")
