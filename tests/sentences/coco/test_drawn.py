"""Boxes, skeletons and segments from a COCO-style file."""

import json
import logging

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from lvm_jax import images
from lvm_jax.pictures import coco_masks, palette, raster
from lvm_jax.sentences import corpora
from lvm_jax.sentences.coco.keypoints import mirrored_joints
from lvm_jax.sentences.corpora import CorpusConfig
from lvm_jax.sentences.kinds import KINDS
from tests.toys import pixels_of

HEIGHT, WIDTH = 48, 64
# A rectangle x 8..40, y 12..36 and, in it, a triangle; a mask in the lower right.
RECTANGLE = [8, 12, 40, 12, 40, 36, 8, 36]
TRIANGLE = [10, 14, 30, 14, 10, 34]
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[38:46, 44:60] = True


def truth():
    labels = np.zeros((HEIGHT, WIDTH), int)
    labels[12:36, 8:40] = 1
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    labels[(x >= 10) & (y >= 14) & ((x - 10) + (y - 14) < 20)] = 2
    labels[MASK] = 3
    return labels


def document():
    entries = [
        {"category_id": 9, "segmentation": [TRIANGLE], "area": 200, "bbox": [10, 14, 20, 20]},
        {"category_id": 5, "segmentation": [RECTANGLE], "area": 768, "bbox": [8, 12, 32, 24]},
        {"category_id": 30, "segmentation": coco_masks.encode(MASK), "area": 128, "iscrowd": 1}
        | {"bbox": [44, 38, 16, 8]},
        {"category_id": 5, "keypoints": [16, 16, 2, 48, 16, 1, 0, 0, 0], "num_keypoints": 2},
    ]
    person = {"keypoints": ["hand", "foot", "nose"], "skeleton": [[1, 2], [2, 3]]}
    return {
        "images": [
            {"id": 7, "file_name": "sub/a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 8, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [{"id": i, "image_id": 7} | entry for i, entry in enumerate(entries)],
        "categories": [
            {"id": 30, "name": "crowd"},
            {"id": 5, "name": "person"} | person,
            {"id": 9, "name": "kite"},
        ],
    }


@pytest.fixture
def root(tmp_path):
    picture = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    for name in ("sub/a", "b"):
        images.write_image(tmp_path / "images" / f"{name}.png", picture)
    (tmp_path / "all.json").write_text(json.dumps(document()))
    return tmp_path


def make(kind, root, **values):
    return KINDS[kind](folder=str(root / "images"), annotations=str(root / "all.json"), **values)


def change(root, edit):
    values = document()
    edit(values)
    (root / "all.json").write_text(json.dumps(values))


def test_only_pictures_with_something_to_draw_are_used(root):
    for kind in ("boxes", "keypoints", "segmentation"):
        source = make(kind, root, pairs_per_sentence=2)
        assert [item.key for item in source.items] == ["sub/a"]
        assert len(source.sentence(0, 0, 0).images) == 4
        assert list(source.documents) == [str(root / "all.json")]


def test_segments_decode_to_their_labels(root):
    source = make("segmentation", root, pairs_per_sentence=1)
    shown = pixels_of(source.sentence(0, 0, 0).images[1], HEIGHT)  # the central square
    np.testing.assert_array_equal(palette.decode(shown, 4), truth()[:, 8:56])


def test_segments_follow_crops_and_mirroring(root):
    source = make("segmentation", root, pairs_per_sentence=1, crop=(0.4, 1.0), flip=True)
    for index in range(12):
        ref = source.sentence(0, 0, index).images[1]
        left, top, side = ref.crop.box(HEIGHT, WIDTH)
        part = truth()[top : top + side, left : left + side]
        expected = part[:, ::-1] if ref.flip else part
        labels = palette.decode(pixels_of(ref, side), 4)
        # The slanted side passes through centres of pixels: mirrored, it may take or leave them.
        assert (labels != expected).sum() <= (20 if ref.flip else 0)


def test_drawings_lie_on_squashed_pictures_too(root):
    ref = make("segmentation", root, pairs_per_sentence=1).sentence(0, 0, 0).images[1]
    labels = palette.decode(pixels_of(ref, WIDTH, resize="squash"), 4)
    assert set(labels[:, 2].tolist()) == {0} and labels[32, 36] == 1  # y 32 was 24
    assert np.isin(labels[18], (1, 2)).sum() == 32


def test_boxes_follow_crops_and_mirroring(root):
    source = make("boxes", root, pairs_per_sentence=1, crop=(0.5, 1.0), flip=True)
    for index in range(12):
        clean, drawn = source.sentence(0, 0, index).images
        left, top, side = drawn.crop.box(HEIGHT, WIDTH)
        pixels = pixels_of(drawn, side)
        np.testing.assert_array_equal(pixels_of(clean, side), 100)
        whole = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
        for label, (x, y, w, h) in ((3, (10, 14, 20, 20)), (1, (8, 12, 32, 24))):
            color = palette.line_colors(4)[{3: 2, 1: 1}[label]]
            box = whole[y : y + h, x : x + w].copy()
            box[[0, -1]], box[:, [0, -1]] = color, color
            whole[y : y + h, x : x + w] = box
        part = whole[top : top + side, left : left + side]
        np.testing.assert_array_equal(pixels, part[:, ::-1] if drawn.flip else part)


@pytest.mark.parametrize("background", ["black", "picture"])
def test_skeletons(background, root):
    source = make("keypoints", root, pairs_per_sentence=1, background=background)
    shown = pixels_of(source.sentence(0, 0, 0).images[1], HEIGHT)
    ground = 0 if background == "black" else 100
    changed = (shown != ground).any(-1)
    # From (16, 16) to (48, 16) in the picture, of which the left 8 columns are cut off.
    rows, columns = np.nonzero(changed)
    assert rows.min() in (14, 15) and rows.max() in (16, 17)
    assert columns.min() <= 8 and columns.max() >= 39
    assert changed[15:17, 9:39].all()
    joints = shown[16, [8, 40]]
    assert (joints[0] != joints[1]).any() and (shown[16, 24] != joints).any()


def test_chosen_categories_decide_colors(root):
    source = make("segmentation", root, pairs_per_sentence=1, categories=("kite",))
    labels = palette.decode(pixels_of(source.sentence(0, 0, 0).images[1], HEIGHT), 2)
    np.testing.assert_array_equal(labels, truth()[:, 8:56] == 2)
    with pytest.raises(ValueError, match=r"boxes\.categories: kit are not in .*all\.json; there"):
        _ = make("boxes", root, categories=("kit",)).items


def test_run_length_codes():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (5, 9), (40, 33)):
        mask = rng.random(shape) < 0.4
        np.testing.assert_array_equal(coco_masks.decode(coco_masks.encode(mask)), mask)
    assert coco_masks.encode(np.ones((2, 3), bool))["counts"] == [0, 6]
    # Made with pycocotools from the mask above and from every third pixel of a 7 x 9 picture.
    code = {"size": [HEIGHT, WIDTH], "counts": COMPRESSED[0]}
    np.testing.assert_array_equal(coco_masks.decode(code), MASK)
    thirds = (np.arange(63) % 3 == 0).reshape(9, 7).T
    code = {"size": [7, 9], "counts": COMPRESSED[1]}
    np.testing.assert_array_equal(coco_masks.decode(code), thirds)


COMPRESSED = [
    "VS28X100000000000000000000000000000j4",
    "0120000000000000000000000000000000000000000",
]


@pytest.mark.parametrize(
    "code,message",
    [
        ({"size": [2, 2], "counts": [1, 2]}, r"sum to 3, not to 2 x 2 = 4"),
        ({"size": [2, 2], "counts": "é"}, "no part of a run-length code"),
        ({"size": [2, 2], "counts": "o"}, "cut short"),
        ({"counts": [4]}, "needs size and counts"),
    ],
)
def test_bad_run_length_codes(code, message):
    with pytest.raises(ValueError, match=message):
        coco_masks.decode(code)


def test_polygons_that_are_not_seen_draw_nothing():
    square = np.array([[0, 0], [5, 0], [5, 5], [0, 5]]) * raster.UNIT
    for moved in ((-10, 0), (0, -10), (70, 0), (0, 70)):
        assert not raster.fill_polygon(square + np.array(moved) * raster.UNIT, 64, 64).any()
    assert not raster.fill_polygon(square[[0, 1, 1]], 64, 64).any()
    assert raster.fill_polygon(square, 3, 4).all()


def test_polygons_agree_with_pillow_inside():
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.integers(0, 64 * raster.UNIT, (5, 2))
        mask = raster.fill_polygon(points, 64, 64)
        # Pillow at 16 times the size; pixels that its polygon covers wholly or not at all.
        canvas = PIL.Image.new("1", (1024, 1024))
        PIL.ImageDraw.Draw(canvas).polygon([tuple(p) for p in points / 16], fill=1)
        share = np.asarray(canvas).reshape(64, 16, 64, 16).mean((1, 3))
        assert mask[share == 1].all() and not mask[share == 0].any()


@pytest.mark.parametrize(
    "edit,message",
    [
        (lambda v: v.pop("categories"), "need lists images, annotations and categories"),
        (lambda v: v["images"][0].pop("height"), r"images\[0\] needs height of type int"),
        (lambda v: v["annotations"][1].update(image_id=70), "annotation 1 is of image 70"),
        (lambda v: v["annotations"][1].update(bbox=[1, 2, 3]), r"annotation 1 .*bbox=\[1, 2, 3\]"),
        (
            lambda v: v["annotations"][3].update(keypoints=[1, 2, 2]),
            r"annotation 3 .*\[1, 2, 2\] must be 9 numbers",
        ),
        (lambda v: v["annotations"][0].update(segmentation=[[1, 2]]), "annotation 0 .*polygon"),
        (
            lambda v: v["annotations"][2]["segmentation"].update(size=[2, 2]),
            r"annotation 2 .*its mask is \(2, 2\), its image",
        ),
        (lambda v: v["images"][1].update(file_name="c.png"), r"c\.png of .* are not in"),
        (lambda v: v["images"][1].update(file_name="sub/a.png"), "two images are called 'sub/a'"),
        (
            lambda v: v["images"][1].update(id=v["images"][0]["id"]),
            "all.json: 2 images have the id",
        ),
        (lambda v: v["annotations"][0].update(area=None), "annotation 0 .*area=None must be a"),
        (
            lambda v: v["annotations"][2]["segmentation"].update(
                size=v["annotations"][2]["segmentation"]["size"][::-1]
            ),
            "annotation 2 .*its mask is .* its image",
        ),
        *(
            (
                lambda v, skeleton=skeleton: v["categories"][1].update(skeleton=skeleton),
                "keypoints: category 'person' of .*: skeleton=.* must be a list",
            )
            for skeleton in (None, "12", [["hand", "foot"]], [1, 2], [[1.0, 2.0]], [[0, 1]], [[1]])
        ),
        (lambda v: v["categories"][1].update(keypoints=17), "'person' .*: keypoints=17 must be a"),
        (lambda v: v["categories"][1].update(keypoints=[1, 2]), r"keypoints=\[1, 2\] must be a"),
        (lambda v: v["annotations"][3].update(keypoints=5), "annotation 3 .*keypoints=5 must be 9"),
        (lambda v: v["annotations"][3].update(keypoints="abc"), "annotation 3 .*'abc' must be 9"),
        *(
            (
                lambda v, counts=counts: v["annotations"][2]["segmentation"].update(counts=counts),
                f"annotation 2 .*{message}",
            )
            for counts, message in (
                ([float("inf")], "needs size and counts: .*infinity"),
                ([-1, 1 + HEIGHT * WIDTH], "negative"),
                ("o" * 99, "too many characters"),
            )
        ),
        (
            # Refused before 10^12 pixels are allocated.
            lambda v: v["annotations"][2].update(
                segmentation={"size": [10**6, 10**6], "counts": [10**12]}
            ),
            r"annotation 2 .*its mask is \(1000000, 1000000\), its image",
        ),
        (lambda v: v["annotations"][0].update(area=float("nan")), "annotation 0 .*area=nan must"),
        (lambda v: v["annotations"][1].update(bbox=[9, 9, -1, 1]), "annotation 1 .*not negative"),
        (lambda v: v["images"][1].update(file_name=""), r"images\[1\] has file_name=''; give"),
        (lambda v: v["images"][0].update(width=0), r"images\[0\] has height=48 and width=0; give"),
        (lambda v: v["categories"][0].update(id=5), "2 categories have the id 5"),
        (lambda v: v["categories"][0].update(name="kite"), "2 categories have the name 'kite'"),
    ],
)
def test_bad_files_are_named(edit, message, root):
    change(root, edit)
    with pytest.raises(ValueError, match=message) as caught:
        for kind in ("boxes", "keypoints", "segmentation"):
            _ = make(kind, root).items
    assert "\n" not in str(caught.value) and "all.json" in str(caught.value)


def test_an_edit_that_keeps_the_files_size_changes_the_fingerprint(root):
    corpus = CorpusConfig(sources=(make("boxes", root),))
    before, size = corpora.sentences(corpus).fingerprint(), (root / "all.json").stat().st_size
    assert corpora.sentences(corpus).fingerprint() == before
    change(root, lambda v: v["annotations"][0].update(bbox=[10, 14, 20, 21]))
    assert (root / "all.json").stat().st_size == size
    assert corpora.sentences(corpus).fingerprint() != before


def test_boxes_that_cannot_be_seen_are_counted(root, caplog):
    def edit(values):
        values["annotations"] += [
            {"id": 10, "image_id": 8, "category_id": 5, "bbox": [8, 8, 0, 5]},
            {"id": 11, "image_id": 8, "category_id": 5, "bbox": [WIDTH, 8, 4, 5]},
            {"id": 12, "image_id": 8, "category_id": 5, "bbox": [8, -5, 4, 5]},
            {"id": 13, "image_id": 7, "category_id": 5, "bbox": [-9, 8, 9.5, 5]},
        ]

    change(root, edit)
    with caplog.at_level(logging.INFO, logger="absl"):
        (item,) = make("boxes", root).items
    assert item.key == "sub/a" and len(json.loads(item.shapes)) == 3
    assert "boxes: 3 boxes of" in caplog.text and "of annotations 10, 11, 12" in caplog.text
    assert "boxes: 1 of 2 images have no boxes and are left out" in caplog.text


def test_a_box_is_seen_on_a_white_picture(root):
    images.write_image(root / "images/sub/a.png", np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
    source = make("boxes", root, categories=("person",), pairs_per_sentence=1)
    picture, drawn = (pixels_of(ref, 32) for ref in source.sentence(0, 0, 0).images)
    assert (picture == 255).all() and (drawn != 255).any()


def test_mirrored_hands_change_sides(root):
    joints = ["nose", "left_hand", "right_hand", "Right Foot", "left foot", "left_tail"]
    assert mirrored_joints(joints) == [0, 2, 1, 4, 3, 5]
    assert mirrored_joints(["lefty", "righty", "x_left", "x_right"]) == [0, 1, 3, 2]

    def edit(values):
        values["categories"][1].update(keypoints=["left_hand", "right_hand"], skeleton=[])
        values["annotations"][3].update(keypoints=[16, 24, 2, 48, 24, 2])

    change(root, edit)
    source = make("keypoints", root, pairs_per_sentence=1, flip=True)
    seen = {}
    for index in range(12):
        ref = source.sentence(0, 0, index).images[1]
        seen[ref.flip] = pixels_of(ref, HEIGHT)[24, [8, 40]].tolist()
    assert len(seen) == 2 and seen[True] == seen[False] and seen[True][0] != seen[True][1]


def test_categories_of_other_joints_are_refused(root):
    change(root, lambda v: v["categories"][2].update(v["categories"][1], id=9, name="kite"))
    assert make("keypoints", root).items
    bird = {"keypoints": ["wing", "tail", "beak"], "skeleton": [[1, 2], [2, 3]]}
    change(root, lambda v: v["categories"][2].update(bird))
    with pytest.raises(ValueError, match=r"person, kite of .* have different skeletons; choose"):
        _ = make("keypoints", root).items


def test_no_file_and_no_json(root):
    (root / "all.json").write_text("[" * 100_000)
    with pytest.raises(
        ValueError, match=r"boxes: .*all\.json are no JSON: nested too deeply; give"
    ):
        _ = make("boxes", root).items
    with pytest.raises(ValueError, match=r"boxes: annotations .*images: Is a directory; give"):
        _ = KINDS["boxes"](folder=str(root), annotations=str(root / "images")).items
    (root / "all.json").write_text("{")
    with pytest.raises(ValueError, match=r"all\.json are no JSON"):
        _ = make("boxes", root).items
    (root / "all.json").unlink()
    with pytest.raises(ValueError, match=r"all\.json: No such file"):
        _ = make("boxes", root).items


def test_a_picture_of_another_shape_is_named(root):
    images.write_image(root / "images/sub/a.png", np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    ref = make("boxes", root).sentence(0, 0, 0).images[1]
    with pytest.raises(
        images.ImageError, match=r"sub/a\.png has 48x64 pixels, but its annotations"
    ):
        pixels_of(ref, 16)
    # The same picture at half the resolution is fine: coordinates are taken in proportion.
    images.write_image(root / "images/sub/a.png", np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8))
    assert (pixels_of(ref, 16) > 0).any()


def test_label_maps_are_not_mixed_when_resized(tmp_path):
    labels = truth()
    images.write_image(tmp_path / "images/a.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (tmp_path / "labels").mkdir()
    PIL.Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "labels/a.png")
    source = KINDS["label_map"](
        folder=str(tmp_path / "images"),
        label_folder=str(tmp_path / "labels"),
        num_labels=4,
        pairs_per_sentence=1,
        crop=(0.4, 1.0),
        flip=True,
    )
    for index in range(12):
        picture, ref = source.sentence(0, 0, index).images
        assert (picture.crop, picture.flip) == (ref.crop, ref.flip)
        left, top, side = ref.crop.box(HEIGHT, WIDTH)
        part = labels[top : top + side, left : left + side]
        part = part[:, ::-1] if ref.flip else part
        np.testing.assert_array_equal(palette.decode(pixels_of(ref, side), 4), part)
        np.testing.assert_array_equal(
            palette.decode(pixels_of(ref, 3 * side), 4), part.repeat(3, 0).repeat(3, 1)
        )
