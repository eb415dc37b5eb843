"""Shapes that the library's annotations promise, held to while the tests run.

Other annotations are the type checker's: a test may pass what only looks like a tokenizer, and what
a config refuses is said by the config.
"""

import pathlib
from collections.abc import Callable

import beartype
import jaxtyping

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def hold() -> None:
    """Checks every call of what says shapes, in modules of the library that are imported later."""
    files = (_ROOT / "lvm_jax").rglob("*.py")
    modules = [
        ".".join(path.relative_to(_ROOT).with_suffix("").parts)
        for path in files
        if "from jaxtyping import" in path.read_text()
    ]
    jaxtyping.install_import_hook(modules, f"{__name__}.checked")


def checked(stand_in: Callable) -> Callable:
    """beartype for the shapes alone.

    Args:
        stand_in: what jaxtyping makes for a function and calls with its arguments (and its result).
    """
    shapes = {
        name: hint for name, hint in stand_in.__annotations__.items() if "jaxtyping." in repr(hint)
    }
    stand_in.__annotations__ = shapes
    return beartype.beartype(stand_in) if shapes else stand_in
