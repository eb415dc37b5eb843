"""Large Vision Models in JAX: images as sentences, one transformer, prompts made of pictures."""

import importlib
from typing import TYPE_CHECKING, Any

from lvm_jax.version import __version__

# Name -> the module that has it. Loaded on first use, so that `import lvm_jax` stays cheap and a
# tool can still configure jax.
_LAZY = {
    "generate": "lvm_jax.generation.answers",
    "load_model": "lvm_jax.generation.language_model",
    "load_pretrained": "lvm_jax.pretrained.loading",
    "load_prompt": "lvm_jax.pretrained.loading",
    "load_tokenizer": "lvm_jax.tokenizer.codec",
}

__all__ = [
    "__version__",
    "generate",
    "load_model",
    "load_pretrained",
    "load_prompt",
    "load_tokenizer",
]

if TYPE_CHECKING:
    from lvm_jax.generation.answers import generate
    from lvm_jax.generation.language_model import load_model
    from lvm_jax.pretrained.loading import load_pretrained, load_prompt
    from lvm_jax.tokenizer.codec import load_tokenizer
else:
    # Unseen by type checkers, to which it would say that every name is there.
    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return getattr(importlib.import_module(_LAZY[name]), name)
        raise AttributeError(f"module 'lvm_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
