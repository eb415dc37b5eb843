"""What references may derive from their squares, by name."""

import types
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np

Function = TypeVar("Function", bound=Callable[..., np.ndarray])

DERIVATIONS: dict[str, Callable[..., np.ndarray]] = {}


def derivation(function: Function) -> Function:
    """Lets references name a function: (uint8 [S, S, 3], **parameters) -> uint8 [S, S, 3].

    Its name is a part of the keys of images for ever: equal names must mean equal pixels.

    Raises:
        ValueError: another function has the name.
    """
    name = name_of(function)
    if DERIVATIONS.setdefault(name, function) is not function:
        raise ValueError(f"two functions are called {name}; pictures derived by them have one key")
    return function


def name_of(function: Callable[..., np.ndarray]) -> str:
    """What references call a function."""
    return cast(types.FunctionType, function).__name__
