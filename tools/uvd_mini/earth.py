"""Maps of the Earth as aligned tiles: satellite picture, relief, shading and land mask."""

import gzip
import pathlib
import zlib

import numpy as np
from PIL import Image

from uvd_mini import files, items, splits

# All maps are brought to this size; north is up, the left edge is 180 degrees west.
WIDTH, HEIGHT = 5400, 2700
LAND_MASK = "lsmask_2.5min_f.bin"
LAND_MASK_SHAPE = (4320, 8640)
PICTURES = {"satellite": "bmng.jpg", "relief": "etopo1.jpg", "shading": "shadedrelief.jpg"}
MIN_LAND = 0.05
# Degrees of latitude; Antarctica is blank on two of the maps.
SOUTH, NORTH = -60.0, 82.0
# Training tiles overlap by half; held-out ones do not.
STEP = {splits.TRAIN: files.SIZE // 2, splits.HELD_OUT: files.SIZE}


def make(out: pathlib.Path, package: pathlib.Path, small: bool) -> None:
    """Writes the tiles that are not there yet; a tile is named by its left and top pixel.

    Satellite picture to land mask is a held-out task, so land is written for held-out tiles only.

    Raises:
        RuntimeError: a map is not as it should be.
    """
    land = read_land(package / LAND_MASK)
    tiles = list_tiles(land, small)
    kinds = {split: [*PICTURES] for split in STEP}
    kinds[splits.HELD_OUT].append("land")
    for kind in (*PICTURES, "land"):
        left = [
            (f"{split}/earth/{kind}/x{x:04d}_y{y:04d}.png", x, y)
            for split, x, y in tiles
            if kind in kinds[split]
        ]
        left = [tile for tile in left if not (out / tile[0]).exists()]
        if not left:
            continue
        whole = land * np.uint8(255) if kind == "land" else read_map(package / PICTURES[kind])
        for relative, x, y in items.progress(f"earth {kind}", left):
            files.write_png(out, relative, whole[y : y + files.SIZE, x : x + files.SIZE])


def list_tiles(land: np.ndarray, small: bool) -> list[tuple[str, int, int]]:
    """(split, left, top) of the tiles with land; a quarter of the training tiles for `small`.

    Args:
        land: bool [HEIGHT, WIDTH].
        small: whether training tiles do not overlap.
    """
    tiles = []
    for split, step in STEP.items():
        step = files.SIZE if small else step
        for y in range(latitude_row(NORTH), latitude_row(SOUTH) - files.SIZE + 1, step):
            for x in range(0, WIDTH - files.SIZE + 1, step):
                degrees = lambda pixel: pixel / WIDTH * 360 - 180
                if splits.tile_split(degrees(x), degrees(x + files.SIZE)) != split:
                    continue
                share = land[y : y + files.SIZE, x : x + files.SIZE].mean()
                if share >= MIN_LAND:
                    tiles.append((split, x, y))
    return tiles


def latitude_row(degrees: float) -> int:
    """The row of the maps at a latitude."""
    return round((90 - degrees) / 180 * HEIGHT)


def read_map(path: pathlib.Path) -> np.ndarray:
    """A map picture: uint8 [HEIGHT, WIDTH, 3].

    Raises:
        RuntimeError: unreadable, or not twice as wide as high.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # known and checked
    try:
        with Image.open(path) as image:
            if image.width != 2 * image.height:
                raise RuntimeError(f"{path}: {image.size} is not a map of the whole Earth")
            picture = image.convert("RGB")
            if picture.size != (WIDTH, HEIGHT):
                picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
            return np.asarray(picture)
    except OSError as error:
        raise RuntimeError(f"{path}: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def read_land(path: pathlib.Path) -> np.ndarray:
    """The land mask: bool [HEIGHT, WIDTH]; lakes are not land.

    The file holds compressed bytes, 0 sea, 1 land, 2 lake, from the south pole upwards.

    Raises:
        RuntimeError: not of the size that it should be.
    """
    try:
        data = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        raise RuntimeError(f"{path}: {error}") from error
    rows, columns = LAND_MASK_SHAPE
    if data.size != rows * columns:
        raise RuntimeError(f"{path}: {data.size} bytes, expected {rows} x {columns}")
    share = Image.fromarray(np.where(data.reshape(rows, columns)[::-1] == 1, 255, 0).astype("u1"))
    return np.asarray(share.resize((WIDTH, HEIGHT), Image.Resampling.BOX)) >= 128
