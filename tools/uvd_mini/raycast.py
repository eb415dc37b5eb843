"""A small ray caster: color, depth, normals and materials of a mesh, exact and in plain numpy.

Which triangle a ray hits is asked of an `Intersect`; `embree` gives the fast one.
Letters: R rays, T triangles, H and W rows and columns of the view.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from uvd_mini.wavefront import Mesh

# Toward the light, in camera space: from over the viewer's left shoulder.
LIGHT = np.array([-0.45, 0.65, 0.62], np.float32)
AMBIENT, DIRECT = 0.5, 0.55
# A ray goes on through glass and the holes of leaves, but not for ever.
MAX_LAYERS = 12
# Cut-outs of a texture are holes for depth, normals and materials; glass is a surface.
HOLE = 0.5

# (origins_R3, directions_R3) -> triangle_R (-1 for none), distance_R in directions, u_R and v_R:
# the weights of the second and the third corner.
Intersect = Callable[
    [np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole that looks at the origin.

    Attributes:
        azimuth: degrees around the vertical y axis; 0 looks from +z, 90 from +x.
        elevation: degrees above the horizon.
        distance: from the origin.
        field_of_view: degrees, of rows and of columns.
    """

    azimuth: float
    elevation: float
    distance: float
    field_of_view: float = 40.0

    @property
    def axes(self) -> np.ndarray:
        """Rows right, up and back (toward the viewer) in the world: float32 [3, 3]."""
        turn, lift = np.radians(self.azimuth), np.radians(self.elevation)
        back = np.array([np.sin(turn) * np.cos(lift), np.sin(lift), np.cos(turn) * np.cos(lift)])
        right = np.array([np.cos(turn), 0.0, -np.sin(turn)])
        return np.stack([right, np.cross(back, right), back]).astype(np.float32)

    def rays(self, size: int, x: float = 0.5, y: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """One ray per pixel, row by row.

        Args:
            size: rows and columns.
            x: where in the pixel, 0 left to 1 right.
            y: where in the pixel, 0 top to 1 bottom.

        Returns:
            Origins and directions, float32 [size * size, 3]. A direction is as long as its depth
            is 1, so distances in directions are depths.
        """
        half = np.tan(np.radians(self.field_of_view / 2))
        columns = ((np.arange(size) + x) / size * 2 - 1) * half
        rows = (1 - (np.arange(size) + y) / size * 2) * half
        right_HW, up_HW = np.meshgrid(columns, rows)
        local_R3 = np.stack([right_HW, up_HW, -np.ones_like(up_HW)], -1).reshape(-1, 3)
        directions_R3 = (local_R3 @ self.axes).astype(np.float32)
        origin = np.float32(self.distance) * self.axes[2]
        return np.broadcast_to(origin, directions_R3.shape), directions_R3


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """What a camera sees.

    Attributes:
        color: uint8 [H, W, 3], on white.
        depth: float32 [H, W] along the line of sight; 0 where there is nothing.
        normal: float32 [H, W, 3] unit vectors (right, up, toward the viewer); 0 where there is
            nothing.
        material: int32 [H, W] indices into the mesh's materials; -1 where there is nothing.
    """

    color: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    material: np.ndarray


def embree(mesh: Mesh) -> Intersect:
    """The intersector of Intel's Embree."""
    from embreex import mesh_construction, rtcore_scene  # an extra; the tool has checked for it

    scene = rtcore_scene.EmbreeScene()
    mesh_construction.TriangleMesh(scene, np.ascontiguousarray(mesh.corners, np.float32))

    def intersect(origins_R3, directions_R3):
        rays = (origins_R3.astype(np.float32), directions_R3.astype(np.float32))
        hits = scene.run(*rays, output=True)
        return hits["primID"], hits["tfar"], hits["u"], hits["v"]

    return intersect


def render(mesh: Mesh, camera: Camera, size: int, intersect: Intersect) -> View:
    """Renders a mesh; colors from 2 x 2 rays a pixel, the rest exact at the pixel's middle.

    Args:
        mesh: the model.
        camera: where from.
        size: rows and columns.
        intersect: over this mesh.
    """
    colors = [
        _shade(mesh, camera, *camera.rays(size, x, y), intersect)
        for y in (0.25, 0.75)
        for x in (0.25, 0.75)
    ]
    color_R3 = np.mean(colors, axis=0)
    depth_R, normal_R3, material_R = _first_surface(mesh, camera, *camera.rays(size), intersect)
    square = (size, size)
    return View(
        color=np.round(color_R3 * 255).astype(np.uint8).reshape(*square, 3),
        depth=depth_R.reshape(square),
        normal=normal_R3.reshape(*square, 3),
        material=material_R.reshape(square),
    )


def _shade(mesh, camera, origins_R3, directions_R3, intersect) -> np.ndarray:
    """The color that each ray sees: float32 [R, 3] in [0, 1]."""
    color_R3 = np.zeros_like(directions_R3)
    left_R = np.ones(len(directions_R3), np.float32)  # how much light still passes
    for rays, hit in _layers(mesh, origins_R3, directions_R3, intersect):
        surface_3, alpha = _look(mesh, hit)
        normal = _normals(mesh, camera, hit)
        light = AMBIENT + DIRECT * np.maximum(0, normal @ (LIGHT / np.linalg.norm(LIGHT)))
        color_R3[rays] += (left_R[rays] * alpha)[:, None] * surface_3 * light[:, None]
        left_R[rays] *= 1 - alpha
        hit.go_on = left_R[rays] > 0.02
    return np.clip(color_R3 + left_R[:, None], 0, 1)


def _first_surface(mesh, camera, origins_R3, directions_R3, intersect):
    """Depth, normal and material of the first surface that is not a hole in a texture."""
    depth_R = np.zeros(len(directions_R3), np.float32)
    normal_R3 = np.zeros_like(directions_R3)
    material_R = np.full(len(directions_R3), -1, np.int32)
    for rays, hit in _layers(mesh, origins_R3, directions_R3, intersect):
        solid = _look(mesh, hit, holes_only=True)[1] >= HOLE
        depth_R[rays[solid]] = hit.depth[solid]
        normal_R3[rays[solid]] = _normals(mesh, camera, hit)[solid]
        material_R[rays[solid]] = mesh.material[hit.triangle[solid]]
        hit.go_on = ~solid
    return depth_R, normal_R3, material_R


@dataclasses.dataclass
class _Hit:
    """Where rays meet a surface; whoever looks at it says which of them go on."""

    triangle: np.ndarray
    depth: np.ndarray
    weights: np.ndarray  # of the three corners
    directions: np.ndarray
    go_on: np.ndarray


def _layers(mesh, origins_R3, directions_R3, intersect):
    """Yields (indices of rays, _Hit) for the first surfaces, then for those behind them."""
    rays = np.arange(len(directions_R3))
    start_R = np.zeros(len(directions_R3), np.float32)
    # Far enough to leave a surface, near enough not to miss the next.
    step = 1e-4 * float(np.abs(origins_R3).max() + 1e-6)
    for _ in range(MAX_LAYERS):
        directions = directions_R3[rays]
        origins = origins_R3[rays] + start_R[rays, None] * directions
        triangle, distance, u, v = intersect(origins, directions)
        met = triangle >= 0
        rays, directions = rays[met], directions[met]
        if not len(rays):
            return
        u, v = u[met], v[met]
        hit = _Hit(
            triangle=triangle[met],
            depth=start_R[rays] + distance[met],
            weights=np.stack([1 - u - v, u, v], -1),
            directions=directions,
            go_on=np.zeros(len(rays), bool),
        )
        yield rays, hit
        start_R[rays] = hit.depth + step
        rays = rays[hit.go_on]
        if not len(rays):
            return


def _look(mesh: Mesh, hit: _Hit, holes_only: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Colors [N, 3] and opacities [N] at hits; `holes_only` takes glass for solid."""
    material = mesh.material[hit.triangle]
    color = np.array([one.color for one in mesh.materials], np.float32)[material]
    alpha = np.array([one.opacity for one in mesh.materials], np.float32)[material]
    alpha = np.where(alpha > 0.02, 1, alpha) if holes_only else alpha
    place = np.einsum("nc,ncd->nd", hit.weights, mesh.texture[hit.triangle])
    for index in np.unique(material):
        texture = mesh.materials[index].texture
        if texture is None:
            continue
        here = material == index
        texel = _sample(texture, place[here])
        color[here] = texel[:, :3]
        alpha[here] *= texel[:, 3]
    return color, alpha


def _sample(texture: np.ndarray, place_N2: np.ndarray) -> np.ndarray:
    """Bilinear texels, repeated in both directions: float32 [N, 4] in [0, 1]."""
    height, width = texture.shape[:2]
    place_N2 = np.where(np.isfinite(place_N2), place_N2, 0)
    x = (place_N2[:, 0] % 1) * width - 0.5
    y = ((1 - place_N2[:, 1]) % 1) * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_share, bottom_share = (x - left)[:, None], (y - top)[:, None]
    texel = lambda row, column: texture[row % height, column % width].astype(np.float32)
    upper = texel(top, left) * (1 - right_share) + texel(top, left + 1) * right_share
    lower = texel(top + 1, left) * (1 - right_share) + texel(top + 1, left + 1) * right_share
    return ((upper * (1 - bottom_share) + lower * bottom_share) / 255).astype(np.float32)


def _normals(mesh: Mesh, camera: Camera, hit: _Hit) -> np.ndarray:
    """Unit normals at hits in camera space, float32 [N, 3], toward the viewer.

    Models wind their faces either way, so the flat normal is turned to the viewer, and the smooth
    one to the flat one's side.
    """
    corners = mesh.corners[hit.triangle]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = _unit(flat) * -np.sign(_dot(flat, hit.directions))[:, None]
    given = mesh.normals[hit.triangle]
    # Corners of one face may disagree in sign; a wrong side would cancel in the mean.
    given = given * np.where(np.einsum("ncd,nd->nc", given, flat) < 0, -1, 1)[..., None]
    smooth = np.einsum("nc,ncd->nd", hit.weights, given)
    length = np.linalg.norm(smooth, axis=-1, keepdims=True)
    normal = np.where(length > 1e-6, smooth / np.maximum(length, 1e-6), flat)
    # Interpolation may turn a normal just past the outline of what is seen.
    view = _unit(hit.directions)
    beyond = np.maximum(0, _dot(normal, view))[:, None]
    return (_unit(normal - beyond * view) @ camera.axes.T).astype(np.float32)


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", first, second)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20)
