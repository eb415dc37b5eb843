"""A word before a training that could memorise its data without anybody seeing it."""

from collections.abc import Mapping

from absl import logging

# Passes over the data from which on a held-out loss is missed.
MOST_EPOCHS = 4.0


def warn_if_unwatched(epochs: Mapping[str, float], held_out_key: str, *, watched: bool) -> None:
    """Warns of a run that sees the same data often and is not evaluated.

    Args:
        epochs: what is seen -> how often until the end of the run.
        held_out_key: the field of the experiment that would bring held-out data.
        watched: whether it is set.
    """
    name = max(epochs, key=lambda name: epochs[name])
    if watched or epochs[name] <= MOST_EPOCHS:
        return
    logging.warning(
        "the run sees %s %.0f times and has no held-out data: if it memorises them, no number will "
        "show it; set %s, make more sentences of the pictures (sentences_per_epoch) or take fewer "
        "steps (loop.num_steps)",
        *(name, epochs[name], held_out_key),
    )
