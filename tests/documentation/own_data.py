"""The folders that pages call /data/..., with a few tiny pictures in each."""

import json
import pathlib

import numpy as np
import PIL.Image

from lvm_jax import images

SIDE = 24
NUM_PHOTOS = 20


def write(root: pathlib.Path) -> None:
    """Writes all of them."""
    rng = np.random.default_rng(0)
    photos = [f"{index:03d}" for index in range(NUM_PHOTOS)]
    names = [f"{folder}/{name}" for folder in ("photos", "depth", "normals") for name in photos]
    names += [f"classes/{animal}/{index}" for animal in ("cat", "dog") for index in range(6)]
    names += [f"objects/{chair}/view_{view:03d}" for chair in "ab" for view in range(0, 360, 15)]
    names += [f"{folder}/{clip}/{index:05d}" for folder in ("clips", "clip_masks")
              for clip in "ab" for index in range(62)]  # fmt: skip
    for name in names:
        picture = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        images.write_image(root / f"{name}.png", picture)
    (root / "labels").mkdir()
    for name in photos:
        labels = rng.integers(0, 21, (SIDE, SIDE), dtype=np.uint8)
        labels[0] = 20
        PIL.Image.fromarray(labels).save(root / "labels" / f"{name}.png")
    (root / "instances.json").write_text(json.dumps(_coco(photos)))


def _coco(photos: list[str]) -> dict:
    size = {"height": SIDE, "width": SIDE}
    entry = {"category_id": 1, "bbox": [4, 4, 12, 12], "area": 144, "iscrowd": 0}
    entry["segmentation"] = [[4, 4, 16, 4, 16, 16, 4, 16]]
    entry["keypoints"] = [5, 5, 2, 12, 12, 2]
    person = {"keypoints": ["head", "foot"], "skeleton": [[1, 2]]}
    return {
        "images": [{"id": i, "file_name": f"{name}.png", **size} for i, name in enumerate(photos)],
        "annotations": [{"id": i, "image_id": i, **entry} for i in range(len(photos))],
        "categories": [{"id": 1, "name": "person", **person}],
    }
