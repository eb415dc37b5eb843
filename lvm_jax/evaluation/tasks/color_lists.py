"""Colors as an option says them: "black/#ff0000/lime"."""

import matplotlib.colors
import numpy as np

from lvm_jax.configs import ConfigError, Field

SEPARATOR = "/"


def read(field: str, text: str, number: int) -> np.ndarray:
    """Different colors, each as matplotlib knows it: uint8 [number, 3].

    Args:
        field: what errors call `text`.
        text: names or #rrggbb, with "/" between them.
        number: how many there must be.

    Raises:
        ConfigError: another number of them, an unknown one, or one twice.
    """
    names = text.split(SEPARATOR)
    try:
        colors = np.array([matplotlib.colors.to_rgb(name) for name in names])
    except ValueError as error:
        raise ConfigError(Field(field), f"={text!r}: {error}; use names or #rrggbb") from error
    found = np.rint(colors * 255).astype(np.uint8)
    different = len(np.unique(found, axis=0))
    if not different == len(found) == number:
        raise ConfigError(
            Field(field),
            f"={text!r} has {different} different colors of {len(found)}, not {number}",
        )
    return found
