"""Episodes of visual prompting: which pictures, and what of them."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.configs import ConfigError
from lvm_jax.evaluation.metrics import foreground
from lvm_jax.evaluation.tasks import imagenet_colors, registry, voc
from lvm_jax.evaluation.tasks.imagenet_colors import ImageNetColors, ImageNetOptions
from lvm_jax.evaluation.tasks.voc_episodes import VocExamples, VocOptions
from lvm_jax.images import ImageConfig
from lvm_jax.pictures import derive
from lvm_jax.pictures.loader import SquareLoader
from tests.evaluation.metrics import real_pictures
from tests.evaluation.metrics.goldens import golden, shortened

ROOT = pathlib.Path(__file__).resolve().parents[3]
LOADER = SquareLoader(ImageConfig(), 64)
# Of classes 6 to 10: name, class, corners as VOC counts them, in pictures of 60 x 80 pixels.
OBJECTS = [
    ("2007_000000", "bus", (11, 6, 30, 25)),
    ("2007_000001", "car", (1, 1, 20, 20)),
    ("2007_000002", "bus", (41, 31, 60, 50)),
    ("2007_000003", "bus", (1, 1, 70, 50)),  # too large
    ("2007_000004", "person", (1, 1, 20, 20)),  # of another fold
]


def annotation(objects, width=80, height=60):
    root = ElementTree.Element("annotation")
    size = ElementTree.SubElement(root, "size")
    ElementTree.SubElement(size, "width").text = str(width)
    ElementTree.SubElement(size, "height").text = str(height)
    for name, corners in objects:
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = name
        box = ElementTree.SubElement(element, "bndbox")
        for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), corners):
            ElementTree.SubElement(box, corner).text = str(value)
    return ElementTree.tostring(root, encoding="unicode")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A VOC of few small pictures, and lists/fold1.txt."""
    root = tmp_path_factory.mktemp("voc")
    for name in ("SegmentationClassAug", "Annotations", "ImageSets/Main", "lists"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    listed = real_pictures.fold_list()
    for name, label in listed:
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        images.write_image(root / "JPEGImages" / f"{name}.jpg", pixels)
        labels = np.zeros((60, 80), np.uint8)
        labels[10:40, 20:60], labels[40:], labels[:10] = label, 15, 255
        PIL.Image.fromarray(labels).save(root / "SegmentationClassAug" / f"{name}.png")
    lines = [f"{name}__{label:02d}\n" for name, label in listed]
    (root / "lists" / "fold1.txt").write_text("".join(lines))
    for name, label, corners in OBJECTS:
        (root / "Annotations" / f"{name}.xml").write_text(annotation([(label, corners)]))
    two = annotation([("bus", (1, 1, 9, 9)), ("car", (11, 11, 20, 20))])
    (root / "Annotations" / "2007_000005.xml").write_text(two)
    names = [f"2007_{number:06d}\n" for number in range(6)]
    for split in ("train", "val"):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(names))
    return root


def examples(folder, kind="segmentation", name="fold1", **fields):
    fields = {"lists": str(folder / "lists"), "fold": 1, **fields}
    return VocExamples(
        name=name, options=VocOptions(folder=str(folder), **fields), kind=kind, loader=LOADER
    )


def test_episodes_are_those_of_visual_prompting(folder):
    """Its own `DatasetPASCAL.sample_episode`, a thousand times."""
    drawn = examples(folder).draw(0)
    assert len(drawn) == 1000
    ours = [[*episode.supports, episode.query, episode.label] for episode in drawn]
    assert shortened(ours) == golden("episodes")["pascal"]
    assert examples(folder).draw(1) != drawn


def test_colorization_episodes_are_those_of_visual_prompting(monkeypatch):
    """Its own `DatasetColorization` on as many files."""
    asked = ImageNetColors(name="colors", options=ImageNetOptions(folder="-"), loader=LOADER)
    files = [f"{number:04d}" for number in range(2345)]
    monkeypatch.setattr(imagenet_colors.image_folders, "list_images", lambda folder: files)
    assert shortened([list(places) for places in asked.draw(0)]) == golden("episodes")["imagenet"]


def test_an_episode_shows_two_pictures_of_a_class(folder):
    asked = examples(folder)
    for index in (0, 3, 47):
        episode = asked.episode(0, index)
        assert episode.query != episode.supports[0]
        assert dict(real_pictures.fold_list())[episode.supports[0]] == episode.label
        assert episode.query == real_pictures.fold_list()[index % 47][0]
    example = asked.example(0, 0)
    assert example.pairs.shape == (1, 2, 64, 64, 3) and example.keys[1] == "2007_000000__06"
    # Squashed: the whole picture is seen. Neither person nor void is of the class.
    expected = np.zeros((111, 111), bool)
    expected[round(111 / 6) : round(111 * 4 / 6), round(111 / 4) : round(111 * 3 / 4)] = True
    mask = example.truth["mask"]
    assert foreground.iou(mask, expected) > 0.95
    assert foreground.iou(foreground.snap(images.squash(example.answer, 111)), mask) > 0.95


def test_the_truth_gets_nearly_all_and_a_constant_its_share(folder):
    asked = examples(folder)
    task = registry.build("foreground", asked, {})
    example = task.example(0, 2)
    # The answer has 64 pixels a side, the mask 111: they differ along the outline.
    assert task.measure(example.answer, example).values["iou"] > 0.97
    white = np.full_like(example.answer, 255)
    assert task.measure(white, example).values["iou"] == pytest.approx(example.truth["mask"].mean())
    assert task.measure(255 - white, example).values == {
        "iou": 0,
        "pixel_accuracy": pytest.approx(1 - example.truth["mask"].mean()),
    }


def test_the_protocol_is_asked_by_its_name(folder, trained, tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "evaluate.py"), "--task=pascal_segmentation"]
    command += [f"--model={trained / 'model'}", f"--tokenizer={trained / 'tokenizer'}"]
    command += [f"--options=folder={folder},lists={folder / 'lists'},fold=1", "--num_examples=2"]
    done = subprocess.run([*command, f"--out={tmp_path}"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "evaluation.json").read_text())
    iou = content["results"]["pascal_segmentation"]["iou"]
    assert iou["decides"] and len(iou["model"]["values"][0]) == 2
    asked = [[*e.supports, f"{e.query}__{e.label:02d}"] for e in examples(folder).draw(0)[:2]]
    assert content["manifest"]["prompts"]["pascal_segmentation"] == asked
    measured = {"side": 111, "fold": 1, "num_pairs": 1, "num_episodes": 1000}
    assert content["manifest"]["task"] == {"pascal_segmentation": measured}  # and no path
    assert content["manifest"]["source"]["folder"] == str(folder)


def test_more_supports_keep_the_last(folder):
    one, three = examples(folder), examples(folder, num_pairs=3)
    assert three.draw(0)[0].supports[-1] == one.draw(0)[0].supports[0]
    assert all(len({*e.supports, e.query}) == 4 for e in three.draw(0)[:50])
    assert three.example(0, 1).pairs.shape[0] == 3


def test_detection_takes_small_single_objects(folder):
    asked = examples(folder, kind="detection", num_pairs=1)
    with pytest.raises(ValueError, match=r"class 7 \(car\) has 1 pictures, too few"):
        asked.draw(0)
    (folder / "Annotations" / "2007_000001.xml").write_text(annotation([("bus", (1, 1, 20, 20))]))
    asked = dataclasses.replace(asked, name="again")
    assert [asked.episode(0, index).query[-1] for index in range(4)] == ["0", "1", "2", "0"]
    task = registry.build("detection", asked, {})
    example = task.example(0, 0)
    left, top, right, bottom = 10 / 80, 5 / 60, 30 / 80, 25 / 60
    rows, columns = np.nonzero(example.truth["mask"])
    corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    np.testing.assert_allclose(corners, 111 * np.array([left, top, right, bottom]), atol=0.6)
    # What is drawn of a box without its corner is still that box.
    drawn = example.answer.copy()
    drawn[rows.min() * 64 // 111 :][:4, columns.min() * 64 // 111 :][:, :4] = 0
    whole, cut = (
        task.measure(picture, example).values["iou"] for picture in (example.answer, drawn)
    )
    assert cut == whole > 0.85
    everywhere = examples(folder, kind="detection", fold=None, lists="")
    assert {name for name, _ in everywhere._queries} == {f"2007_00000{n}" for n in (0, 1, 2, 4)}


def test_colors_come_from_the_middle(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)
        images.write_image(tmp_path / "n01" / f"{number}.png", pixels)
    options = ImageNetOptions(folder=str(tmp_path), num_episodes=3)
    asked = ImageNetColors(name="colors", options=options, loader=LOADER)
    task = registry.build("colorization", asked, {})
    example = task.example(0, 0)
    path = tmp_path / example.keys[-1]
    middle = images.read_image(path)[20:131, 44:155]  # 44.5 rounds to the even number
    np.testing.assert_array_equal(example.truth["picture"], middle)
    assert task.measure(middle, example).values["mse"] == 0
    np.testing.assert_array_equal(example.answer, images.squash(middle, 64))
    np.testing.assert_array_equal(example.query, images.squash(derive.gray(middle), 64))
    with pytest.raises(ValueError, match="holds 4 pictures, and num_episodes=1000 take more"):
        dataclasses.replace(asked, options=ImageNetOptions(folder=str(tmp_path))).example(0, 0)


def test_what_is_wrong_with_lists_and_annotations_is_named(folder, tmp_path):
    for text, message in (
        ("a__06\nb\n", r"fold1\.txt line 2: 'b' must be NAME__CLASS with a class in 6\.\.10"),
        ("a__11\n", "line 1: 'a__11' must be NAME__CLASS"),
        ("\n", "is empty"),
    ):
        (tmp_path / "fold1.txt").write_text(text)
        with pytest.raises(ValueError, match=message):
            voc.read_fold(str(tmp_path), 1)
    with pytest.raises(ValueError, match=r"cannot read the list .*fold0\.txt"):
        voc.read_fold(str(tmp_path), 0)
    with pytest.raises(ConfigError, match=r"fold=4 must lie in 0\.\.3"):
        VocOptions(folder="x", fold=4)
    with pytest.raises(ConfigError, match="lists='' must hold the folds"):
        examples(folder, lists="").example(0, 0)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("x\n")
    with pytest.raises(ValueError, match=r"cannot read .*x\.xml as an annotation of VOC"):
        voc.read_objects(str(tmp_path), "val")
