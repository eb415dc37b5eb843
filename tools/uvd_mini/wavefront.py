"""Reads 3D models in Wavefront OBJ and MTL.

Letters: T triangles, 3 corners or coordinates, 2 texture coordinates.
"""

import dataclasses
import itertools
import pathlib

import numpy as np
from PIL import Image

from uvd_mini import items

# Renders are small: finer textures would only flicker.
MAX_TEXTURE = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """How a surface looks.

    Attributes:
        name: in the MTL file.
        color: red, green, blue, each in [0, 1].
        opacity: 1 for solid, less for glass.
        texture: uint8 [H, W, 4], first row on top, in place of the color; None without.
    """

    name: str
    color: tuple[float, float, float] = (0.8, 0.8, 0.8)
    opacity: float = 1.0
    texture: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """Triangles with materials.

    Attributes:
        corners: float32 [T, 3, 3] positions, by triangle and corner.
        normals: float32 [T, 3, 3] at the corners; zero where the file gives none.
        texture: float32 [T, 3, 2] positions (u, v) in the texture at the corners, v upwards.
        material: int32 [T] indices into `materials`.
        materials: the materials in use.
    """

    corners: np.ndarray
    normals: np.ndarray
    texture: np.ndarray
    material: np.ndarray
    materials: tuple[Material, ...]


def read_obj(path: pathlib.Path) -> Mesh:
    """Reads a model with its materials and textures, which lie beside it.

    Polygons become fans of triangles; lines and points are left out.

    Raises:
        items.ItemError: unreadable, or without a single triangle.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return _parse(lines, path)
    except (OSError, ValueError, IndexError) as error:
        raise items.ItemError(f"{path.parent.name}/{path.name}: {error}") from error


def _parse(lines: list[str], path: pathlib.Path) -> Mesh:
    points, textures, normals = [], [], []
    corners, material_of_triangle = [], []
    library: dict[str, Material] = {}
    names: dict[str, int] = {}
    current = names.setdefault("", 0)
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "v":
            points.append([float(number) for number in rest.split()[:3]])
        elif word == "vt":
            textures.append([float(number) for number in (*rest.split(), "0")[:2]])
        elif word == "vn":
            normals.append([float(number) for number in rest.split()[:3]])
        elif word == "f":
            counts = (len(points), len(textures), len(normals))
            polygon = [_corner(text, counts) for text in rest.split()]
            for second, third in itertools.pairwise(polygon[1:]):
                corners.append((polygon[0], second, third))
                material_of_triangle.append(current)
        elif word == "usemtl":
            current = names.setdefault(rest.strip(), len(names))
        elif word == "mtllib":
            library |= read_mtl(path.parent / rest.strip())
    if not corners:
        raise ValueError("no triangles")
    index_T33 = np.array(corners, np.int64)  # [..., (point, texture, normal)]
    # The last row stands for "not given": index -1 finds it.
    points_33 = np.array(points, np.float32).reshape(-1, 3)
    textures_2 = np.array([*textures, (0.0, 0.0)], np.float32)
    normals_3 = np.array([*normals, (0.0, 0.0, 0.0)], np.float32)
    if index_T33[..., 0].min() < 0:
        raise ValueError("a face without a point")
    used, material_T = np.unique(np.array(material_of_triangle, np.int32), return_inverse=True)
    name_of = list(names)
    return Mesh(
        corners=points_33[index_T33[..., 0]],
        normals=normals_3[index_T33[..., 2]],
        texture=textures_2[index_T33[..., 1]],
        material=material_T.astype(np.int32),
        materials=tuple(
            library.get(name_of[index], Material(name=name_of[index])) for index in used
        ),
    )


def _corner(text: str, counts: tuple[int, int, int]) -> tuple[int, int, int]:
    """A corner "point/texture/normal", 1-based or negative from the end -> 0-based, -1 for none."""

    def index_of(field: str, count: int) -> int:
        index = int(field) if field else 0
        index = index - 1 if index > 0 else count + index if index < 0 else -1
        if not -1 <= index < count:
            raise ValueError(f"corner {text} names what is not there")
        return index

    point, texture, normal = (*text.split("/"), "", "")[:3]
    return (
        index_of(point, counts[0]),
        index_of(texture, counts[1]),
        index_of(normal, counts[2]),
    )


def read_mtl(path: pathlib.Path) -> dict[str, Material]:
    """Reads a material library; one that is missing is empty, and its materials are gray."""
    if not path.exists():
        return {}
    materials: dict[str, Material] = {}
    name = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "newmtl":
            name = rest
            materials[name] = Material(name=name)
        elif not name:
            continue
        elif word == "Kd":
            color = tuple(min(1.0, max(0.0, float(number))) for number in rest.split()[:3])
            materials[name] = dataclasses.replace(materials[name], color=color)
        elif word == "d":
            opacity = min(1.0, max(0.0, float(rest.split()[-1])))
            materials[name] = dataclasses.replace(materials[name], opacity=opacity)
        elif word == "map_Kd":
            materials[name] = dataclasses.replace(
                materials[name], texture=read_texture(path.parent, rest)
            )
    return materials


def read_texture(folder: pathlib.Path, text: str) -> np.ndarray | None:
    """Reads a texture: uint8 [H, W, 4]; None where it is missing.

    Args:
        folder: of the MTL file.
        text: what follows "map_Kd": options, then a path that may have spaces and may be one on
            its author's disk; the file lies in `folder` all the same.
    """
    name = text.replace("\\", "/").split("/")[-1]
    for candidate in (text, name, name.split()[-1] if name else ""):
        path = folder / candidate
        if candidate and path.is_file():
            try:
                with Image.open(path) as image:
                    rgba = image.convert("RGBA")
            except OSError:
                return None
            rgba.thumbnail((MAX_TEXTURE, MAX_TEXTURE), Image.Resampling.BOX)
            return np.asarray(rgba)
    return None
