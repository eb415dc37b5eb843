"""What of a COCO-style file shows on its picture, and in which coordinates."""

import json
import logging
import pathlib
import re

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.image_formats import image_files
from lvm_jax.pictures import coco_masks, drawings, palette
from lvm_jax.sentences.coco import shows, turns
from lvm_jax.sentences.kinds import KINDS
from tests.toys import pixels_of

FILES = pathlib.Path(__file__).parent / "files"
SHAPE = 48, 64
NAMES = ["nose", "left_eye", "right_eye"]


def write(folder, name="a.jpg", orientation=1, size=(64, 48), **more):
    """A black picture of (width, height) as stored, with a white corner at the top left."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:8, :8] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    folder.mkdir(exist_ok=True)
    PIL.Image.fromarray(pixels).save(folder / name, exif=exif, quality=95, **more)


def make(kind, tmp_path, entries, size=(64, 48), names=("a.jpg",), **values):
    annotations = [
        {"id": i, "image_id": number, "category_id": 1, "area": 9} | entry
        for number in range(len(names))
        for i, entry in enumerate(entries)
    ]
    listed = [
        {"id": i, "file_name": name, "width": size[0], "height": size[1]}
        for i, name in enumerate(names)
    ]
    person = {"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}
    document = {"images": listed, "annotations": annotations, "categories": [person]}
    (tmp_path / "all.json").write_text(json.dumps(document))
    where = {"folder": str(tmp_path / "img"), "annotations": str(tmp_path / "all.json")}
    return KINDS[kind](**where, pairs_per_sentence=1, **values)


@pytest.mark.parametrize(
    "kind, file, text",
    [
        (
            "segmentation",
            "empty_masks.json",
            "3 segmentation of .* left out: 1 empty, 1 outside of their image, 1 without area; the "
            "first are of annotations 1, 2, 3",
        ),
        ("keypoints", "unlabelled_joints.json", "1 keypoints .*left out: 1 without a labelled joi"),
    ],
)
def test_what_shows_nothing_is_left_out_and_counted(kind, file, text, tmp_path, caplog):
    for name in "abcd":
        images.write_image(tmp_path / f"{name}.png", np.zeros((*SHAPE, 3), np.uint8))
    with caplog.at_level(logging.INFO, logger="absl"):
        source = KINDS[kind](folder=str(tmp_path), annotations=str(FILES / file))
        assert [item.key for item in source.items] == ["a"]
    (line,) = [r.message for r in caplog.records if "show nothing" in r.message]
    assert re.search(text, line), line


def test_two_corners_are_refused(tmp_path):
    for name in "abcd":
        images.write_image(tmp_path / f"{name}.png", np.zeros((*SHAPE, 3), np.uint8))
    source = KINDS["segmentation"](folder=str(tmp_path), annotations=f"{FILES}/two_corners.json")
    with pytest.raises(ValueError, match=r"annotation 0 of .*at least three corners"):
        _ = source.items


GOOD = [8, 8, 40, 8, 40, 40, 8, 40]


@pytest.mark.parametrize(
    "polygon, reason",
    [
        (GOOD, ""),
        ([-9, -9, 99, -9, 99, 99, -9, 99], ""),
        ([0, 0, 0.2, 0, 0.2, 0.2], ""),
        ([5, 5, 25, 25, 25, 5, 5, 25], ""),  # crosses itself, so that its areas cancel
        ([0, 0, 64, 48, 63, 48], ""),
        ([70, 0, 80, 0, 80, 10], "outside of their image"),
        ([64, 0, 80, 0, 80, 10], "outside of their image"),
        # Around a corner of the picture: only its box lies in it.
        ([-9, 40, -1, 40, -1, 49, 30, 49, 30, 60, -9, 60], "outside of their image"),
        ([5, 5, 10, 10, 20, 20], "without area"),
        ([0.1, 0.3, 0.2, 0.6, 0.3, 0.9], "without area"),
        ([5, 5, 5, 5, 5, 5], "without area"),
        ([5, 5, 30, 5, 9, 5], "without area"),
        ([*GOOD, *GOOD], "without area"),  # even and odd: inside twice is outside
    ],
)
def test_polygons(polygon, reason):
    assert shows.polygon(polygon, SHAPE) == reason
    side = 1024
    view = drawings.View(left=0, top=0, width=64, height=48, flip=False, size=side)
    shapes = drawings.to_json([[1, [polygon]]])
    drawn = drawings.segmentation(
        np.zeros((side, side, 3), np.uint8), view, shapes=shapes, num_labels=2
    )
    assert palette.decode(drawn, 2).any() == (not reason)


@pytest.mark.parametrize(
    "box, reason",
    [
        ([8, 8, 10, 10], ""),
        ([-5, -5, 99, 20], ""),
        ([0, 0, 64, 48], ""),
        ([-0.2, -0.2, 64.4, 48.4], ""),
        ([-50, -50, 500, 500], "outside of their image"),  # the frame lies around the picture
        ([64, 8, 4, 5], "outside of their image"),
        ([8, -5, 4, 5], "outside of their image"),
        ([8, 8, 0, 5], "without area"),
        ([8, 8, 5, 0], "without area"),
    ],
)
def test_boxes(box, reason):
    assert shows.box(box, SHAPE) == reason


@pytest.mark.parametrize(
    "joints, reason",
    [
        ([[10, 10, 2], [0, 0, 0], [0, 0, 0]], ""),
        ([[-9, 20, 2], [90, 20, 1], [0, 0, 0]], ""),  # the limb crosses the picture
        ([[-9, 20, 2], [0, 0, 0], [90, 20, 1]], ""),
        ([[0, 0, 0], [-9, 20, 2], [90, 20, 1]], "outside of their image"),  # no limb of these
        ([[-90, 20, 2], [-9, -9, 1], [0, 0, 0]], "outside of their image"),
        ([[10, 10, 0], [20, 10, 0], [15, 20, 0]], "without a labelled joint"),
    ],
)
def test_bodies(joints, reason):
    assert shows.body(joints, [[0, 1], [0, 2]], SHAPE) == reason


def test_a_good_polygon_stays_without_the_others(tmp_path, caplog):
    write(tmp_path / "img")
    segments = [GOOD, [5, 5, 10, 10, 20, 20]], [[70, 0, 80, 0, 80, 9], [70, 9, 80, 9, 80, 19]]
    entries = [{"segmentation": segment} for segment in segments]
    (item,) = make("segmentation", tmp_path, entries).items
    assert json.loads(item.shapes) == [[1, [GOOD]]]
    assert "2 segmentation of" in caplog.text
    assert "1 in part, 1 outside of their image" in caplog.text


def test_a_polygon_without_corners_is_none(tmp_path, caplog):
    """Files of boxes have [[]] for segments, and those of segments [] for boxes."""
    write(tmp_path / "img")
    entries = [{"segmentation": [[]], "bbox": []}, {"segmentation": [GOOD, []], "bbox": [9] * 4}]
    (item,) = make("segmentation", tmp_path, entries).items
    assert json.loads(item.shapes) == [[1, [GOOD]]]
    assert "left out: 1 empty, 1 in part; the first are of annotations 0, 1" in caplog.text
    (item,) = make("boxes", tmp_path, entries).items
    assert json.loads(item.shapes) == [[1, 9, 9, 9, 9]]


def test_nothing_to_draw_at_all_is_refused(tmp_path):
    write(tmp_path / "img")
    with pytest.raises(ValueError, match=r"has no boxes for any of the 1 images chosen; check"):
        _ = make("boxes", tmp_path, [{"bbox": [99, 9, 9, 9]}]).items


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_coordinates_turn_with_the_picture(orientation, tmp_path):
    """What is drawn of stored coordinates lies where the stored pixels come to lie."""
    write(tmp_path / "img", orientation=orientation)
    square = [0, 0, 8, 0, 8, 8, 0, 8]
    mask = np.zeros(SHAPE, bool)
    mask[:8, :8] = True
    entries = {
        "segmentation": [{"segmentation": [square]}],
        "boxes": [{"bbox": [0, 0, 8, 8]}],
        "keypoints": [{"keypoints": [4, 4, 2, 0, 0, 0, 0, 0, 0]}],
    }
    codes = {**entries, "codes": [{"segmentation": coco_masks.encode(mask)}]}
    for kind, annotations in codes.items():
        kind = "segmentation" if kind == "codes" else kind
        source = make(kind, tmp_path, annotations, coordinates="stored")
        picture, drawn = source.sentence(0, 0, 0).images
        shown = images.read_image(picture.path)
        assert drawn.shape == shown.shape[:2]
        view = drawings.View(
            **{"left": 0, "top": 0, "width": shown.shape[1], "height": shown.shape[0]},
            **{"flip": False, "size": 192},
        )
        blank = np.zeros((192, 192, 3), np.uint8)
        pixels = drawings.DRAWINGS[kind](blank, view, **dict(drawn.parameters))
        rows, columns = np.nonzero(pixels.any(-1))
        bright = np.nonzero(view.sample(shown[..., 0]) > 128)
        for indices, true in zip((rows, columns), bright):
            assert abs(indices.mean() - true.mean()) < 2, (kind, orientation)
            if kind != "keypoints":
                assert abs(np.ptp(indices) - np.ptp(true)) <= 4


def test_stored_eyes_change_sides_in_a_mirrored_picture(tmp_path):
    joints = [32, 10, 2, 10, 10, 2, 50, 10, 1]
    for orientation in (1, 2, 3):
        write(tmp_path / "img", orientation=orientation)
        (item,) = make("keypoints", tmp_path, [{"keypoints": joints}], coordinates="stored").items
        (body,) = json.loads(item.shapes)["bodies"]
        assert (
            body[1:]
            == {
                1: [[10, 10, 2], [50, 10, 1]],
                2: [[14, 10, 1], [54, 10, 2]],  # what was the right eye is at the left, and is left
                3: [[54, 38, 2], [14, 38, 1]],
            }[orientation]
        )


BOX = [{"bbox": [4, 4, 9, 9]}]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("right", ["upright", "stored"])
def test_sizes_say_which_coordinates_hold(orientation, right, tmp_path, caplog):
    write(tmp_path / "img", orientation=orientation)  # 64 x 48 stored, 48 x 64 upright
    size = {"stored": (64, 48), "upright": (48, 64)}[right]
    wrong = {"stored": "upright", "upright": "stored"}[right]
    message = rf"boxes: .*a\.jpg are turned .* are those of the {right} picture; set "
    with pytest.raises(ValueError, match=message + rf"boxes\.coordinates='{right}'"):
        _ = make("boxes", tmp_path, BOX, size, coordinates=wrong).items
    source = make("boxes", tmp_path, BOX, size, coordinates=right)
    assert pixels_of(source.sentence(0, 0, 0).images[1], 32).any()
    assert "orientation" not in caplog.text


def test_a_warning_where_sizes_cannot_say_which_coordinates_hold(tmp_path, caplog):
    names = ["a.jpg", "b.jpg", "c.jpg", "d.png", "e.webp"]
    for orientation, name in zip((1, 3, 2, 4, 3), names):
        write(tmp_path / "img", name, orientation)
    assert len(make("boxes", tmp_path, BOX, names=names).items) == 5
    (line,) = [r.message for r in caplog.records if "orientation tag" in r.message]
    assert line.startswith("boxes: 4 images have an orientation tag") and "b.jpg" in line
    assert "set boxes.coordinates='stored'" in line and "a.jpg" not in line
    caplog.clear()
    assert len(make("boxes", tmp_path, BOX, names=names, coordinates="stored").items) == 5
    assert not caplog.records


def test_a_square_cannot_say(tmp_path, caplog):
    write(tmp_path / "img", orientation=6, size=(48, 48))
    assert make("boxes", tmp_path, BOX, (96, 96)).items
    assert "1 images have an orientation tag" in caplog.text
    caplog.clear()
    write(tmp_path / "img", orientation=6, size=(64, 63))
    with pytest.raises(ValueError, match=r"set boxes\.coordinates='stored'"):
        _ = make("boxes", tmp_path, BOX, (64, 63)).items
    assert make("boxes", tmp_path, BOX, (63, 64)).items and not caplog.records


def test_turns_are_those_of_pixels():
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 255, (5, 7), dtype=np.int32)
    for orientation in range(1, 9):
        turn = turns.Turn(orientation=orientation, height=5, width=7)
        upright = image_files.upright(stored, orientation)
        assert upright.shape == turn.shape
        for y, x in np.ndindex(5, 7):
            across, down = turn.point(x + 0.5, y + 0.5)
            assert upright[int(down), int(across)] == stored[y, x]
            assert turn.box([x, y, 1, 1]) == [int(across), int(down), 1, 1]


def test_names_of_listed_pictures_match_however_accents_are_composed(tmp_path):
    write(tmp_path / "img", "e\u0301.jpg")
    (item,) = make("boxes", tmp_path, BOX, names=["\u00e9.png"]).items
    assert item.key == "e\u0301" and item.path.endswith("e\u0301.jpg")
    with pytest.raises(ValueError, match="two images are called 'e\u0301'"):
        _ = make("boxes", tmp_path, BOX, names=["\u00e9.jpg", "e\u0301.png"]).items
