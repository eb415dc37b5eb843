"""What references say of an example's truth beyond its pictures.

Legend: S side in pixels, K keypoints.
"""

import json
from collections.abc import Mapping

import numpy as np

from lvm_jax.images import ImageConfig
from lvm_jax.pictures import derivations, derive, raster, render
from lvm_jax.pictures.reference import ImageRef

HOLE, KEYPOINTS = "hole", "keypoints"


def truth(
    query: ImageRef, answer: ImageRef, size: int, config: ImageConfig
) -> Mapping[str, np.ndarray]:
    """For `Example.truth`.

    Args:
        query, answer: what a prompt asks with, and what answers it.
        size: S.
        config: how the pictures are read.

    Returns:
        "hole": bool [S, S], what an `inpaint_hole` hides; "keypoints": float64 [K, 2], x and y in
        pixels of the joints of the one body that `keypoints` draws, nan for one that is not seen,
        and all nan if there are several bodies, whose blobs nobody can tell apart.
    """
    found = {}
    if query.derivation == derivations.name_of(derive.inpaint_hole):
        white = np.full((size, size, 3), 255, np.uint8)
        found[HOLE] = render.derived(query, white, config)[..., 0] == 0
    if answer.derivation == "keypoints":
        found[KEYPOINTS] = _keypoints(answer, size, config)
    return found


def _keypoints(ref: ImageRef, size: int, config: ImageConfig) -> np.ndarray:
    assert ref.shape is not None, ref
    bodies = json.loads(str(dict(ref.parameters)["shapes"]))["bodies"]
    body = np.array(bodies[0], float)
    points = render.view(ref, ref.shape, size, config).points(body[:, :2]) / raster.UNIT
    is_seen = (body[:, 2] > 0) & ((points >= 0) & (points < size)).all(-1) & (len(bodies) == 1)
    return np.where(is_seen[:, None], points, np.nan)
