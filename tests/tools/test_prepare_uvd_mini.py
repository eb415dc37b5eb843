"""tools/prepare_uvd_mini.py: splits, fetching, resuming and rendering, all without a network."""

import hashlib
import itertools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from experiment_files import load_experiment
from lvm_jax.measures import perceptual
from lvm_jax.pictures import palette
from lvm_jax.sentences import corpora
from tests import toys
from uvd_mini import (
    attribution,
    earth,
    edges,
    emoji,
    files,
    items,
    models3d,
    packages,
    parts,
    raycast,
    splits,
    wavefront,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTENT = b"what the registry has"
PACKAGE = packages.Package(
    client="npm",
    name="pictures",
    version="1.0",
    file="pictures-1.0.tgz",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    megabytes=0.1,
)


def run_tool(*flags):
    command = [sys.executable, "tools/prepare_uvd_mini.py", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


# Splits.


@pytest.mark.parametrize(
    "variants",
    [
        ("1f44b", "1f44b-1f3fb", "1f44b-1f3ff"),
        ("1f9d1-200d-2695-fe0f", "1f468-1f3fd-200d-2695-fe0f", "1f469-200d-2695", "1F9D1-2695"),
        ("1f6b4", "1f6b4-200d-2640-fe0f", "1f6b4-1f3fe-200d-2642-fe0f"),
        ("2716", "2716-fe0f"),
    ],
)
def test_variants_of_an_emoji_share_identity_and_split(variants):
    assert len({splits.emoji_identity(key) for key in variants}) == 1
    assert len({splits.split_of(splits.emoji_identity(key)) for key in variants}) == 1


def test_different_things_stay_different():
    keys = ["1f44b", "1f44c", "1f9d1-200d-2695", "1f1e9-1f1ea", "1f1e9", "1f3fb", "2640-fe0f"]
    assert len({splits.emoji_identity(key) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "variants",
    [
        (
            "scopia_oak-table",
            "scopia_oak-table2",
            "katorlegaz_oakTable_white",
            "scopia_bigOakTable",
        ),
        ("blendswap-cc-0_chair", "blendswap-cc-by_Chair03"),
    ],
)
def test_variants_of_a_model_share_identity(variants):
    assert len({splits.model_identity(name) for name in variants}) == 1


def test_a_tenth_is_held_out_and_one_category_as_a_whole():
    names = [f"thing-{number}-{number * number}" for number in range(4000)]
    share = np.mean([splits.split_of(name) == splits.HELD_OUT for name in names])
    assert abs(share - splits.HELD_OUT_SHARE) < 0.02
    words = ["scopia_" + "".join(letters) for letters in itertools.product("abcdefgh", repeat=3)]
    held_out = {splits.model_split(name, splits.HELD_OUT_CATEGORY) for name in words}
    assert held_out == {splits.HELD_OUT}
    assert {splits.model_split(name, "Kitchen") for name in words} == {"train", "held_out"}


def test_fractions_are_the_same_for_ever():
    # Other numbers would move things between training and held out for everybody.
    expected = int.from_bytes(hashlib.sha256(b"uvd-mini:1f600").digest()[:8], "big") / 2**64
    assert splits.fraction("1f600") == expected


def test_no_map_tile_of_one_split_overlaps_the_other():
    land = np.ones((earth.HEIGHT, earth.WIDTH), bool)
    tiles = earth.list_tiles(land, small=False)
    columns = {
        split: np.unique([x for name, x, _ in tiles if name == split]) for split in earth.STEP
    }
    assert all(len(lefts) for lefts in columns.values())
    for x in columns["held_out"]:
        assert not (np.abs(columns["train"] - x) < files.SIZE).any()
    assert all(0 <= x <= earth.WIDTH - files.SIZE for _, x, _ in tiles)
    assert earth.list_tiles(np.zeros_like(land), small=True) == []


# Packages.


def test_a_package_is_fetched_once(tmp_path):
    calls = []

    def fetcher(package, folder):
        calls.append(package)
        (folder / package.file).write_bytes(CONTENT)

    for _ in range(2):
        path = packages.fetch(PACKAGE, tmp_path, fetcher)
        assert path.read_bytes() == CONTENT
    assert calls == [PACKAGE]
    assert [path.name for path in tmp_path.iterdir()] == [PACKAGE.file]


def test_a_corrupted_download_is_fetched_again(tmp_path):
    (tmp_path / PACKAGE.file).write_bytes(CONTENT[:5])
    path = packages.fetch(
        PACKAGE, tmp_path, lambda package, folder: (folder / package.file).write_bytes(CONTENT)
    )
    assert path.read_bytes() == CONTENT


def test_a_checksum_mismatch_names_the_package_and_both_sums(tmp_path):
    other = b"something else"
    with pytest.raises(RuntimeError) as caught:
        packages.fetch(
            PACKAGE, tmp_path, lambda package, folder: (folder / package.file).write_bytes(other)
        )
    message = str(caught.value)
    for word in ("pictures 1.0", PACKAGE.sha256, hashlib.sha256(other).hexdigest()):
        assert word in message
    assert "\n" not in message
    assert not any(tmp_path.iterdir())


def test_a_failing_client_leaves_nothing_and_says_why(tmp_path, monkeypatch):
    script = "import sys; print('npm ERR! network down', file=sys.stderr); sys.exit(1)"
    command = property(lambda self: [sys.executable, "-c", script])
    monkeypatch.setattr(packages.Package, "command", command)
    with pytest.raises(RuntimeError, match=r"pictures 1\.0 \(npm\): could not .*network down"):
        packages.fetch(PACKAGE, tmp_path)
    assert not any(tmp_path.iterdir())


def test_packages_are_pinned_by_name_only():
    for package in attribution.CREDITS:
        assert len(package.sha256) == 64 and package.version in package.file
        assert not any("://" in word or "index" in word for word in package.command)


# Flags and missing pieces.


def test_mistakes_are_one_line(tmp_path):
    result = run_tool(f"--out={tmp_path}", "--only=emojis")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].count("no such part; the parts are emoji,") == 1


def test_a_missing_client_is_told_with_what_works_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda program: None)
    with pytest.raises(ValueError, match=r"npm is not installed.*--only=earth,models,edges"):
        parts.check_clients(list(parts.PARTS), tmp_path)
    assert parts.check_clients(["earth", "models"], tmp_path) == ["earth"]  # Debian's is skipped
    (tmp_path / packages.FURNITURE.file).touch()  # it is here already
    assert parts.check_clients(["models"], tmp_path) == ["models"]


# Files and items.


def _write(out, number):
    if number == 3:
        raise items.ItemError("three: broken")
    files.write_png(out, f"train/x/{number}.png", np.full((2, 2, 3), number, np.uint8))


def _is_written(out, number):
    return (out / f"train/x/{number}.png").exists()


def test_finished_items_are_not_made_again(tmp_path):
    files.write_png(tmp_path, "train/x/1.png", np.full((2, 2, 3), 77, np.uint8))
    problems = items.run("test", _write, tmp_path, range(5), _is_written, workers=1)
    assert problems == ["three: broken"]
    values = {path.stem: np.asarray(Image.open(path))[0, 0, 0] for path in tmp_path.rglob("*.png")}
    assert values == {"0": 0, "1": 77, "2": 2, "4": 4}


def test_a_failed_write_leaves_nothing_under_the_final_name(tmp_path):
    def half(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(files.DiskFullError, match="free space and start the same command again"):
        files.place(tmp_path, "train/a.png", half)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_a_killed_run_left_is_cleared(tmp_path):
    (tmp_path / files.PARTIAL).mkdir()
    (tmp_path / files.PARTIAL / "123-train~a.png").write_bytes(b"half")
    files.clear_partial(tmp_path)
    assert not any((tmp_path / files.PARTIAL).iterdir())


def test_two_runs_do_not_share_a_folder(tmp_path):
    with files.lock(tmp_path), pytest.raises(ValueError, match="another run is at work"):
        files.lock(tmp_path)
    files.lock(tmp_path).close()


# Emoji.


def test_groups_hold_different_things_and_flags_are_left_out(tmp_path):
    (tmp_path / "data").mkdir()
    entry = lambda code, tone="": {
        "hexcode": code,
        "skintone": tone,
        "group": "animals",
        "subgroups": "mammal",
    }
    codes = [f"1F4{number:02X}" for number in range(40)]
    entries = [entry(code) for code in codes] + [entry("1F400-1F3FB", "1")]
    (tmp_path / "data/openmoji.json").write_text(json.dumps(entries))
    for tones, expected in ((False, 80), (True, 82)):
        drawn = emoji.list_openmoji(tmp_path, tones)
        assert len(drawn) == expected
        assert not any(one.group for one in drawn if splits.has_skin_tone(one.key))
        for split in ("train", "held_out"):
            grouped = [one for one in drawn if one.group and one.split == split]
            assert not grouped or len(grouped) >= emoji.MIN_GROUP
    assert emoji.is_flag("1f1e9-1f1ea") and not emoji.is_flag("1f3f4")


# 3D models.


def sphere(steps=24):
    """A unit sphere with exact normals at its corners, as OBJ text."""
    turns, lifts = np.linspace(0, 2 * np.pi, 2 * steps + 1), np.linspace(0, np.pi, steps + 1)
    points = [
        (np.sin(lift) * np.cos(turn), np.cos(lift), np.sin(lift) * np.sin(turn))
        for lift in lifts
        for turn in turns
    ]
    lines = [f"v {x} {y} {z}\nvn {x} {y} {z}" for x, y, z in points]
    width = len(turns)
    for row, column in itertools.product(range(steps), range(width - 1)):
        first = row * width + column + 1
        corners = (first, first + 1, first + width + 1, first + width)
        lines.append("f " + " ".join(f"{corner}//{corner}" for corner in corners))
    return "\n".join(lines)


CUBE = """mtllib cube.mtl
v -1 -1 -1
v 1 -1 -1
v 1 1 -1
v -1 1 -1
v -1 -1 1
v 1 -1 1
v 1 1 1
v -1 1 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl front
f 5/1 6/2 7/3 8/4
usemtl rest
f 1 2 3 4
f 1 5 8 4
f -7 -3 -2 -6
f 4 3 7 8
f 1 2 6 5
"""


def brute_force(mesh):
    """Every ray against every triangle (Moller and Trumbore 1997), independent of Embree."""
    first = mesh.corners[:, 0]
    side, other = mesh.corners[:, 1] - first, mesh.corners[:, 2] - first

    def intersect(origins, directions):
        cross = np.cross(directions[:, None], other)
        determinant = np.einsum("td,rtd->rt", side, cross)
        safe = np.where(np.abs(determinant) < 1e-12, np.inf, determinant)
        start = origins[:, None] - first
        u = np.einsum("rtd,rtd->rt", start, cross) / safe
        turned = np.cross(start, side)
        v = np.einsum("rd,rtd->rt", directions, turned) / safe
        distance = np.einsum("td,rtd->rt", other, turned) / safe
        inside = np.isfinite(safe) & (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6)
        distance = np.where(inside & (distance > 1e-6), distance, np.inf)
        nearest = distance.argmin(1)
        rays = np.arange(len(origins))
        is_hit = np.isfinite(distance[rays, nearest])
        return (
            np.where(is_hit, nearest, -1),
            distance[rays, nearest],
            u[rays, nearest],
            v[rays, nearest],
        )

    return intersect


def read_text(folder, text, name="model.obj"):
    (folder / name).write_text(text)
    return wavefront.read_obj(folder / name)


@pytest.fixture
def cube(tmp_path):
    (tmp_path / "cube.mtl").write_text(
        "newmtl front\nKd 1 1 1\nmap_Kd C:\\My Files\\four colors.png\nnewmtl rest\nKd 0 0 1\nd 1\n"
    )
    colors = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]]
    texture = np.kron(np.array(colors, np.uint8), np.ones((8, 8, 1), np.uint8))
    Image.fromarray(texture).save(tmp_path / "four colors.png")
    return read_text(tmp_path, CUBE)


@pytest.mark.parametrize("intersector", ["brute_force", "embree"])
@pytest.mark.parametrize("azimuth", [0, 75])
def test_a_sphere_has_the_depth_and_normals_of_a_sphere(tmp_path, intersector, azimuth):
    if intersector == "embree":
        pytest.importorskip("embreex")
    mesh = read_text(tmp_path, sphere())
    intersect = brute_force(mesh) if intersector == "brute_force" else raycast.embree(mesh)
    camera = raycast.Camera(azimuth=azimuth, elevation=20, distance=3.0)
    size = 16
    view = raycast.render(mesh, camera, size, intersect)
    # In the camera's own space: the eye at (0, 0, 3), the ball at the origin.
    x, y = np.meshgrid(*[((np.arange(size) + 0.5) / size * 2 - 1)] * 2)
    along = np.stack([x, -y, np.zeros_like(x)], -1) * np.tan(np.radians(20))
    along[..., 2] = -1
    half = 3 * -along[..., 2] / (along**2).sum(-1)
    root = half**2 - 8 / (along**2).sum(-1)
    inner = root > 0.02  # well inside of the outline, which a polygon only approaches
    depth = half - np.sqrt(np.maximum(root, 0))
    normal = np.array([0, 0, 3]) + depth[..., None] * along
    assert inner.sum() > 50
    np.testing.assert_allclose(view.depth[inner], depth[inner], atol=0.03)
    np.testing.assert_allclose(view.normal[inner], normal[inner], atol=0.06)
    assert (view.material[inner] == 0).all()
    outside = root < 0
    assert (view.depth[outside] == 0).all() and (view.material[outside] == -1).all()
    assert (view.color[outside & (np.abs(root) > 0.5)] == 255).all()


def test_normals_face_the_viewer_whichever_way_faces_are_wound(tmp_path):
    text = sphere(8)
    turned = []
    for line in text.splitlines():
        word, *rest = line.split()
        if word == "vn":
            rest = [str(-float(number)) for number in rest]
        turned.append(" ".join([word, *(reversed(rest) if word == "f" else rest)]))
    camera = raycast.Camera(azimuth=30, elevation=10, distance=3.0)
    for each in (text, "\n".join(turned)):
        mesh = read_text(tmp_path, each)
        view = raycast.render(mesh, camera, 12, brute_force(mesh))
        seen = view.material >= 0
        np.testing.assert_allclose(np.linalg.norm(view.normal[seen], axis=-1), 1, atol=1e-4)
        middle = view.normal[5:7, 5:7].mean((0, 1))
        assert middle[2] > 0.9


def test_a_cube_shows_flat_sides_materials_and_an_upright_texture(cube):
    intersect = brute_force(cube)
    front = raycast.Camera(azimuth=0, elevation=0, distance=6.0)
    view = raycast.render(cube, front, 16, intersect)
    seen = view.material >= 0
    np.testing.assert_allclose(view.depth[seen], 5, atol=1e-4)
    np.testing.assert_allclose(view.normal[seen], np.tile([0, 0, 1], (seen.sum(), 1)), atol=1e-5)
    names = [material.name for material in cube.materials]
    assert {names[index] for index in np.unique(view.material[seen])} == {"front"}
    # The texture's first row is on top, its first column on the left.
    corner = lambda row, column: view.color[row, column].astype(int)
    red, green, blue = corner(5, 5), corner(5, 10), corner(10, 5)
    assert red.argmax() == 0 and green.argmax() == 1 and blue.argmax() == 2
    right = raycast.render(
        cube, raycast.Camera(azimuth=90, elevation=0, distance=6.0), 16, intersect
    )
    assert {names[index] for index in np.unique(right.material[right.material >= 0])} == {"rest"}
    above = raycast.render(
        cube, raycast.Camera(azimuth=0, elevation=45, distance=6.0), 16, intersect
    )
    top = above.normal[4, 8]
    np.testing.assert_allclose(top, [0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-4)


def test_holes_of_a_texture_are_seen_through_and_glass_is_a_surface(cube):
    camera = raycast.Camera(azimuth=0, elevation=0, distance=6.0)
    hole = np.zeros((2, 2, 4), np.uint8)
    for material, depth in (
        (wavefront.Material(name="front", texture=hole), 7.0),
        (wavefront.Material(name="front", color=(0, 1, 0), opacity=0.2), 5.0),
    ):
        mesh = wavefront.Mesh(
            corners=cube.corners,
            normals=cube.normals,
            texture=cube.texture,
            material=cube.material,
            materials=(material, cube.materials[1]),
        )
        view = raycast.render(mesh, camera, 8, brute_force(mesh))
        np.testing.assert_allclose(view.depth[4, 4], depth, atol=1e-3)
        # Either way the blue wall behind is seen.
        assert view.color[4, 4].argmax() == 2


def test_bad_models_are_left_out_by_name(tmp_path):
    for text in ("v 0 0 0\n", "v 0 0 0\nf 1 2 3\n", "v 0 zero 0\n"):
        with pytest.raises(items.ItemError, match=r"model\.obj"):
            read_text(tmp_path, text)


def test_models_keep_their_proportions_and_fit_the_ball(cube):
    model = models3d.Model(
        name="scopia_box",
        source="",
        rotation=(1, 0, 0, 0, 0, -1, 0, 1, 0),
        extent=(10.0, 20.0, 40.0),
        category="Kitchen",
        creator="",
        terms="",
        views=(0,),
    )
    mesh = models3d.placed(cube, model)
    low, high = mesh.corners.min((0, 1)), mesh.corners.max((0, 1))
    np.testing.assert_allclose((high - low) / (high - low)[0], [1, 2, 4], rtol=1e-5)
    np.testing.assert_allclose(low, -high, atol=1e-6)
    assert np.linalg.norm(mesh.corners, axis=-1).max() == pytest.approx(1)
    assert "segment" not in model.kinds or model.split == "held_out"


def test_depth_normals_and_materials_can_be_read_back():
    depth = np.array([[0.0, 2.0, 2.5, 4.0]], np.float32)
    gray = models3d.draw_depth(depth, 2.0, 4.0).astype(float)
    assert gray[0, 0] == 0 and gray[0, 1] == models3d.NEAR and gray[0, 3] == models3d.FAR
    back = 4.0 - (gray - models3d.FAR) / (models3d.NEAR - models3d.FAR) * 2.0
    np.testing.assert_allclose(back[0, 1:], depth[0, 1:], atol=0.01)
    normal = np.array([[[0, 0, 1], [0, 0, 0], [0.6, -0.8, 0]]], np.float32)
    picture = models3d.draw_normals(normal)
    assert (picture[0, 1] == 0).all()
    np.testing.assert_allclose(picture[0, 2] / 255 * 2 - 1, normal[0, 2], atol=0.01)
    material, rank = np.array([[-1, 0, 1, 2]]), np.array([2, 0, 1])
    labels = palette.decode(models3d.draw_materials(material, rank), models3d.NUM_LABELS)
    assert labels.tolist() == [[0, 3, 1, 2]]


def test_a_catalog_is_read_with_its_escapes():
    text = "id=x\nname#2=Caf\\u00e9\nmodel#2=/a/b.obj\nmodel#1=/c/d.obj\ncreator#1=A \\: B\nx#3=1"
    assert models3d.read_catalog(text) == [
        {"model": "/c/d.obj", "creator": "A : B"},
        {"name": "Café", "model": "/a/b.obj"},
    ]


# Edges.


def test_edges_are_found_where_a_blue_kernel_looks():
    # Nothing but one path: fuse reads side 1, which reads channel 0 of stage 1.
    shapes = {"fuse": (1, 1, 5, 1)}
    for stage, (_, count) in enumerate(perceptual.STAGES, 1):
        shapes[f"side{stage}"] = (1, 1, 4, 1)
        for index in range(1, count + 1):
            into = 3 if (stage, index) == (1, 1) else 4
            shapes[f"conv{stage}_{index}"] = (3, 3, into, 4)
    weights = {
        name: {"kernel": np.zeros(shape, np.float32), "bias": np.zeros(shape[-1], np.float32)}
        for name, shape in shapes.items()
    }
    weights["conv1_1"]["kernel"][1, 1, 0, 0] = 1  # the first channel is blue
    weights["conv1_2"]["kernel"][1, 1, 0, 0] = 1
    weights["side1"]["kernel"][0, 0, 0, 0] = 1
    weights["fuse"]["kernel"][0, 0, 0, 0] = 1
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    pictures[1, 4:8, :, 2] = 255  # blue
    pictures[1, 8:, :, 0] = 255  # red is not looked at
    detected = np.asarray(edges.detect(weights, pictures))
    assert detected.shape == (2, 16, 16)
    np.testing.assert_allclose(detected[0], 0.5)
    np.testing.assert_allclose(detected[1, 4:8], 1, atol=1e-6)
    np.testing.assert_allclose(detected[1, 8:], 0.5)


# Attribution and experiments.


def test_attribution_names_what_was_used_and_no_more(tmp_path):
    files.write_png(tmp_path, "train/emoji_color/a.png", np.zeros((2, 2, 3), np.uint8))
    used = [packages.OPENMOJI, packages.FURNITURE]
    attribution.record(tmp_path, "emoji", used, "small", ["x.svg: broken"])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["counts"]["train"] == {"emoji_color": 1}
    assert manifest["parts"]["emoji"]["left_out"] == ["x.svg: broken"]
    assert manifest["parts"]["emoji"]["packages"][0]["sha256"] == packages.OPENMOJI.sha256
    text = attribution.text(manifest, ["- scopia_table: Somebody, CC BY 3.0"])
    for words in ("openmoji 17.0.0", "CC BY-SA 4.0", "sweethome3d-furniture", "Somebody"):
        assert words in text
    assert "Noto" not in text and "fluent" not in text


@pytest.fixture
def tiny_corpus(tmp_path):
    return toys.write_uvd_mini(tmp_path)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_the_experiment_reads_the_layout(tiny_corpus, split):
    path = ROOT / "experiments" / "uvd_mini.py"
    values = load_experiment(f"{path}:root={tiny_corpus},split={split}")
    corpus = corpora.build_corpus(values["corpus"])
    assert len(corpus.sources) >= 12 and len({source.kind for source in corpus.sources}) >= 6
    assert any(source.name.startswith("unseen") for source in corpus.sources) == (split != "train")
    for source in corpus.sources:
        sentence = source.sentence(0, 0, 0)
        assert 1 <= len(sentence.images) <= 16
        assert all(f"/{split}/" in image.path for image in sentence.images)


def test_normals_are_never_mirrored():
    values = load_experiment(str(ROOT / "experiments" / "uvd_mini.py"))
    for name, source in values["corpus"]["sources"].items():
        if "normal" in str(source):
            assert not source.get("flip"), name


def test_the_mixture_of_the_paper_has_its_proportions():
    path = ROOT / "experiments" / "uvdv1.py"
    mixture = load_experiment(str(path))["data"]["mixture"]
    assert len(mixture) == 41
    assert sum(source["weight"] for source in mixture.values()) == pytest.approx(412_688.248)
    few = load_experiment(f"{path}:rows=laion+davis,root=x")["data"]["mixture"]
    assert few == {name: {**mixture[name], "shards": f"x/{name}"} for name in ("laion", "davis")}
    with pytest.raises(ValueError, match=r"no row imagenet; rows: laion, .*objaverse"):
        load_experiment(f"{path}:rows=laion+imagenet")
