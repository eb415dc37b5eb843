"""Flags of the tools that read pictures for a trained model, and of those that draw some."""

from typing import Any

from absl import flags

FLAGS = flags.FLAGS
READING = ("fit", "background", "max_pixels")

# --help shows the flags of the tool; this module's count as the tool's own.
flags.disclaim_key_flags()


def define_reading() -> None:
    """Defines --fit, --background and --max_pixels for a tool that reads pictures."""
    flags.DEFINE_enum(
        "fit",
        None,
        ["crop", "squash"],
        "How pictures become square: by their middle, or squashed. By default as those did that "
        "the model learned from.",
    )
    flags.DEFINE_list(
        "background", None, "R,G,B in 0..255 under transparent pictures; by default as for --fit."
    )
    flags.DEFINE_integer(
        "max_pixels", None, "Larger pictures are refused before they are decoded.", 1
    )


def changes() -> dict[str, Any]:
    """Fields of `images.ImageConfig` that the command line sets.

    Raises:
        ValueError: a background that is no color.
    """
    found: dict[str, Any] = {"resize": FLAGS.fit, "max_pixels": FLAGS.max_pixels}
    if FLAGS.background is not None:
        try:
            found["background"] = [int(value) for value in FLAGS.background]
        except ValueError as error:
            raise ValueError(
                f"--background={','.join(FLAGS.background)} must be three numbers of 0..255, such "
                "as 255,255,255"
            ) from error
    return {name: value for name, value in found.items() if value is not None}


def define_scale(of: str) -> None:
    """Defines --scale for a tool that draws labelled pictures."""
    flags.DEFINE_integer(
        "scale",
        None,
        f"How many times the size of {of} is drawn; by default enough to see something.",
        1,
    )
