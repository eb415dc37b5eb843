"""3D models: turntable views with depth, normals, silhouette and materials."""

import dataclasses
import functools
import json
import pathlib
import re

import numpy as np

from lvm_jax.pictures import palette
from uvd_mini import files, items, raycast, splits, wavefront
from uvd_mini.wavefront import Mesh

# Gray of the farthest and of the nearest depth of a model; nothing is 0.
FAR, NEAR = 40, 255
# Share of the picture; road markings are thinner.
LEAST_COVERED = 0.015
# Of the material segmentation: nothing, then materials by size.
NUM_LABELS = 64
ELEVATIONS = (8.0, 36.0)
TERMS = {
    "BlendSwap-CC-0": "CC0",
    "BlendSwap-CC-BY": "CC BY 3.0",
    "KatorLegaz": "CC BY 3.0 US",
    "Reallusion": "CC BY 3.0 US",
    "Scopia": "CC BY 3.0",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """One 3D model of the furniture libraries.

    Attributes:
        name: library and file, as "scopia_toaster".
        source: the OBJ file.
        rotation: row by row, to be applied first.
        extent: width, height and depth in centimetres after it, or None to leave it as it is.
        category: as "Kitchen".
        creator: to be credited.
        terms: of its library.
        views: azimuths to render, in whole degrees.
    """

    name: str
    source: str
    rotation: tuple[float, ...]
    extent: tuple[float, float, float] | None
    category: str
    creator: str
    terms: str
    views: tuple[int, ...]

    @property
    def split(self) -> str:
        return splits.model_split(self.name, self.category)

    @property
    def elevation(self) -> float:
        """Degrees above the horizon, the same for all views of a model (paper, section 3.1)."""
        low, high = ELEVATIONS
        return low + (high - low) * splits.fraction(self.name, "elevation")

    def output(self, kind: str, view: int) -> str:
        """A view's file, relative to the corpus."""
        return f"{self.split}/models/{self.name}/{kind}/{view:03d}.png"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is written: material segmentation is a held-out task, so only for the held-out."""
        always = ("color", "depth", "normal", "mask")
        return (*always, "segment") if self.split == splits.HELD_OUT else always


def list_models(package: pathlib.Path, num_views: int, limit: int) -> list[Model]:
    """The models of the libraries.

    Args:
        package: the unpacked furniture, one folder per library.
        num_views: evenly spaced around the model.
        limit: how many to take at most; 0 for all.
    """
    views = tuple(round(index * 360 / num_views) for index in range(num_views))
    models = []
    for library in sorted(path for path in package.iterdir() if path.is_dir()):
        catalog = library / "PluginFurnitureCatalog.properties"
        for entry in read_catalog(catalog.read_text(encoding="latin-1")):
            source = library / entry["model"].lstrip("/")
            rotation = tuple(map(float, entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()))
            width, height, depth = (
                float(entry.get(key, 0)) for key in ("width", "height", "depth")
            )
            has_sizes = min(width, height, depth) > 0
            models.append(
                Model(
                    name=f"{library.name.lower()}_{source.stem}",
                    source=str(source),
                    rotation=rotation,
                    extent=(width, height, depth) if has_sizes else None,
                    category=entry["category"],
                    creator=entry.get("creator", library.name),
                    terms=TERMS.get(library.name, "see the package"),
                    views=views,
                )
            )
    # In the order of a hash, so that few are a fair sample and more contain the fewer.
    models.sort(key=lambda model: splits.fraction(model.name, "models"))
    return models[:limit] if limit else models


def read_catalog(text: str) -> list[dict[str, str]]:
    """The numbered entries "key#number=value" of a catalog, with its escapes resolved."""
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = re.match(r"(\w+)#(\d+)=(.*)", line)
        if match:
            value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), match[3])
            value = re.sub(r"\\(.)", r"\1", value).strip()
            entries.setdefault(int(match[2]), {})[match[1]] = value
    return [entry for _, entry in sorted(entries.items()) if "model" in entry]


def make(out: pathlib.Path, model: Model) -> None:
    """Renders all views of a model.

    Raises:
        items.ItemError: its file cannot be read, or it is hardly to be seen.
    """
    mesh = placed(wavefront.read_obj(pathlib.Path(model.source)), model)
    intersect = raycast.embree(mesh)
    order = by_area(mesh)
    # The ball of radius 1 around the model just fits.
    distance = float(1 / np.sin(np.radians(raycast.Camera.field_of_view / 2)))
    look = functools.partial(raycast.Camera, elevation=model.elevation, distance=distance)
    glance = raycast.render(mesh, look(azimuth=45), files.SIZE // 4, intersect)
    if (glance.material >= 0).mean() < LEAST_COVERED:
        raise items.ItemError(f"{model.name}: too thin to be seen")
    for view in model.views:
        if all((out / model.output(kind, view)).exists() for kind in model.kinds):
            continue
        seen = raycast.render(mesh, look(azimuth=view), files.SIZE, intersect)
        pictures = {
            "color": seen.color,
            "depth": draw_depth(seen.depth, distance - 1, distance + 1),
            "normal": draw_normals(seen.normal),
            "mask": np.where(seen.material >= 0, 255, 0).astype(np.uint8),
            "segment": draw_materials(seen.material, order),
        }
        for kind in model.kinds:
            files.write_png(out, model.output(kind, view), pictures[kind])


def is_done(out: pathlib.Path, model: Model) -> bool:
    return all(
        (out / model.output(kind, view)).exists() for kind in model.kinds for view in model.views
    )


def placed(mesh: Mesh, model: Model) -> Mesh:
    """A mesh turned, brought to its catalog proportions, and put into the ball of radius 1."""
    rotation = np.array(model.rotation, np.float32).reshape(3, 3)
    corners = mesh.corners @ rotation.T
    low, high = corners.min((0, 1)), corners.max((0, 1))
    scale = np.ones(3, np.float32)
    if model.extent:
        # A flat thing has no third size that could be brought to another.
        room = high - low
        wanted = np.array(model.extent, np.float32)
        scale = np.where(room > 1e-4 * room.max(), wanted / np.maximum(room, 1e-9), 1)
        scale = np.where(room > 1e-4 * room.max(), scale, np.median(scale)).astype(np.float32)
    corners = (corners - (low + high) / 2) * scale
    radius = float(np.linalg.norm(corners, axis=-1).max())
    # Normals follow the inverse transpose.
    normals = (mesh.normals @ rotation.T) / scale
    corners = (corners / radius).astype(np.float32)
    return dataclasses.replace(mesh, corners=corners, normals=normals)


def by_area(mesh: Mesh) -> np.ndarray:
    """Rank of each material by its surface, largest first: int [materials]."""
    first, second, third = np.moveaxis(mesh.corners, 1, 0)
    area_T = np.linalg.norm(np.cross(second - first, third - first), axis=-1)
    area = np.bincount(mesh.material, weights=area_T, minlength=len(mesh.materials))
    return np.argsort(np.argsort(-area, kind="stable"), kind="stable")


def draw_depth(depth_HW: np.ndarray, near: float, far: float) -> np.ndarray:
    """Depth as gray, nearer is brighter, nothing is black: uint8 [H, W]."""
    share = np.clip((far - depth_HW) / (far - near), 0, 1)
    return np.where(depth_HW > 0, np.round(FAR + share * (NEAR - FAR)), 0).astype(np.uint8)


def draw_normals(normal_HW3: np.ndarray) -> np.ndarray:
    """Normals as colors, 0.5 + n / 2 of (right, up, toward the viewer); nothing is black."""
    seen = (np.abs(normal_HW3).sum(-1, keepdims=True) > 0).astype(np.float32)
    return np.round((normal_HW3 * 0.5 + 0.5) * seen * 255).astype(np.uint8)


def draw_materials(material_HW: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Materials in the colors of label maps, nothing is black: uint8 [H, W, 3].

    `palette.decode` gives the ranks, plus 1, back.
    """
    label_HW = np.where(material_HW >= 0, rank[material_HW] + 1, 0)
    return palette.encode(np.minimum(label_HW, NUM_LABELS - 1), NUM_LABELS)


def write_credits(out: pathlib.Path, models: list[Model]) -> None:
    """Writes OUT/models.json: category, split, creator and terms of each model."""
    entries = {
        model.name: {
            "category": model.category,
            "split": model.split,
            "creator": model.creator,
            "terms": model.terms,
        }
        for model in models
    }
    content = json.dumps(dict(sorted(entries.items())), indent=1, ensure_ascii=False) + "\n"
    files.place(out, "models.json", lambda path: path.write_text(content, encoding="utf-8"))
