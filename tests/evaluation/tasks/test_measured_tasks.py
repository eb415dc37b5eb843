"""Tasks with measures of their own, on examples that are made or dealt by sources."""

import dataclasses
import json

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.configs import ConfigError
from lvm_jax.evaluation.metrics.depth_code import DepthCode
from lvm_jax.evaluation.tasks import registry
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.images import ImageConfig
from lvm_jax.measures import perceptual, perceptual_weights
from lvm_jax.pictures import derive, drawings, palette
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from tests.evaluation.metrics import real_pictures

SIDE = real_pictures.SIDE
PICTURE, OTHER = real_pictures.photograph(), real_pictures.photograph("coffee")
LABELS = real_pictures.labels()[1]
CODE = {"near": 1.0, "far": 6.0, "far_at": 40 / 255, "nothing": "black"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """One example again and again."""

    query: np.ndarray
    answer: np.ndarray
    name: str = "made"

    def example(self, seed, index):
        del seed, index
        pair = np.stack([self.query, self.answer])
        return Example(pairs=pair[None], query=self.query, answer=self.answer)


def white_where(mask):
    return np.where(mask[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2)


def joints():
    body = [[20, 20, 2], [70, 24, 2], [45, 60, 2], [24, 80, 2]]
    shapes = drawings.to_json({"skeleton": [[0, 1], [1, 2]], "bodies": [body]})
    view = drawings.View(left=0, top=0, width=SIDE, height=SIDE, flip=False, size=SIDE)
    return drawings.keypoints(PICTURE, view, shapes=shapes, background="black")


# Kind of task, its options, the true answer, another answer that is worse.
CASES = {
    "pixels": ({}, PICTURE, OTHER),
    "segmentation": (
        {"num_labels": 6},
        palette.encode(LABELS, 6),
        palette.encode(np.roll(LABELS, 3, axis=1), 6),
    ),
    "foreground": (
        {},
        white_where(real_pictures.mask("astronaut")),
        white_where(real_pictures.mask("coffee")),
    ),
    "detection": (
        {"side": SIDE},
        white_where(np.pad(np.ones((30, 40), bool), ((20, 46), (30, 26)))),
        white_where(np.pad(np.ones((30, 40), bool), ((30, 36), (35, 21)))),
    ),
    "colorization": ({}, PICTURE, derive.gray(PICTURE)),
    "depth": (
        CODE,
        DepthCode(**CODE).encode(real_pictures.depths()[1]),
        DepthCode(**CODE).encode(real_pictures.depths()[0]),
    ),
    "normals": ({}, PICTURE, OTHER),
    "edges": ({}, derive.edges(PICTURE), derive.edges(OTHER)),
    "inpainting": ({}, PICTURE, OTHER),
    "keypoints": ({"num_joints": 4, "num_limbs": 2}, joints(), np.roll(joints(), 12, axis=0)),
    "frames": ({}, PICTURE, OTHER),
}


def built(name):
    options, answer, worse = CASES[name]
    query = np.roll(PICTURE, 2, axis=1)
    if name == "inpainting":
        query = derive.inpaint_hole(answer, seed=0, mask_ratio=0.2)
    task = registry.build(name, Made(query=query, answer=answer), options)
    return task, task.example(0, 0), worse


def test_all_kinds_are_here():
    assert set(CASES) == set(registry.KINDS)


@pytest.mark.parametrize("name", CASES)
def test_the_truth_is_best_and_every_metric_is_measured(name):
    task, example, worse = built(name)
    best, other = (
        {**measured.values, **task.summarize(measured.tally)}
        for measured in (task.measure(picture, example) for picture in (example.answer, worse))
    )
    assert task.metrics[0].per_example and task.name == "made"
    assert [metric.name for metric in task.metrics] == list(best) == list(other)
    per_example = {metric.name for metric in task.metrics if metric.per_example}
    assert set(task.measure(worse, example).values) == per_example
    for metric in task.metrics:
        assert metric.gain(best[metric.name], other[metric.name]) > 0, metric
        if metric.name != "gain_over_copy":
            most = 100 if metric.unit == "dB" else 1
            assert best[metric.name] == pytest.approx(most if metric.better == "higher" else 0)
    assert json.dumps(other)
    # Pooled over one example is that example, and twice the same is the same.
    tally = task.measure(worse, example).tally
    assert task.summarize(2 * tally) == pytest.approx(task.summarize(tally))
    assert tally.nbytes < 200_000  # what is kept of an example is a sum, not its picture


@pytest.mark.parametrize("name", ["segmentation", "depth", "normals", "edges", "keypoints"])
def test_a_little_noise_costs_little(name):
    """As of a tokenizer that decodes the truth."""
    task, example, worse = built(name)
    noise = np.random.default_rng(0).integers(-6, 7, example.answer.shape)
    noisy = np.clip(example.answer.astype(int) + noise, 0, 255).astype(np.uint8)
    first = task.metrics[0]
    best, near, far = (
        task.measure(picture, example).values[first.name]
        for picture in (example.answer, noisy, worse)
    )
    assert first.gain(best, near) < 0.2 * first.gain(best, far)


@pytest.mark.parametrize("name", ["foreground", "depth", "normals", "edges", "keypoints"])
def test_where_there_is_nothing_to_score_there_is_no_score(name):
    options, answer, _ = CASES[name]
    black = np.zeros_like(answer)
    task = registry.build(name, Made(query=black, answer=black), options)
    assert np.isnan(task.measure(black, task.example(0, 0)).values[task.metrics[0].name])


def test_colors_of_others():
    labels = LABELS % 3
    answer = np.array([(10, 10, 10), (255, 0, 0), (0, 255, 0)], np.uint8)[labels]
    options = {"num_labels": 3, "colors": "#0a0a0a/red/lime"}
    task = registry.build("segmentation", Made(query=PICTURE, answer=answer), options)
    assert task.measure(answer, task.example(0, 0)).values == {"miou": 1, "pixel_accuracy": 1}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("segmentation", {"num_labels": 4, "colors": "red/lime"}, "own.colors='red/lime' has 2"),
        ("segmentation", {"colors": "red/reed"}, "own.colors='red/reed': .*'reed'"),
        ("keypoints", {"num_joints": 2, "colors": "red/#ff0000"}, "has 1 different colors of 2"),
        ("depth", {"nothing": "blck"}, "own.nothing='blck' is no color"),
        ("colorization", {"lpips_weights": "x"}, "own.vgg16_weights is empty, and LPIPS needs it"),
        ("edges", {"truth_threshold": 0.0}, "own.truth_threshold=0.0 must lie in"),
        ("inpainting", {"holes": 1}, "unknown key own.holes=1"),
    ],
)
def test_bad_options_are_named(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        registry.build(kind, Made(query=PICTURE, answer=PICTURE), options, "own")


def test_colors_that_are_not_the_tasks_are_refused():
    answer = palette.encode(LABELS, 6)
    for options in ({}, {"num_labels": 3, "colors": "black/navy/#800000"}):
        task = registry.build("segmentation", Made(query=PICTURE, answer=answer), options)
        with pytest.raises(ConfigError, match="answer to made is drawn in other colors"):
            task.example(0, 0)
    # A picture that was made smaller has some mixed colors.
    answer = images.squash(palette.encode(LABELS.repeat(3, 0).repeat(3, 1), 6), 128)
    for fine in (answer, np.zeros_like(answer)):
        task = registry.build("segmentation", Made(query=fine, answer=fine), {"num_labels": 6})
        assert task.example(0, 0).answer is fine


def test_without_background_only_things_count():
    answer = palette.encode(np.where(LABELS == 2, 2, 0), 6)
    black = np.zeros_like(answer)
    scores = {}
    for background in (True, False):
        options = {"num_labels": 6, "background": background}
        task = registry.build("segmentation", Made(query=PICTURE, answer=answer), options)
        scores[background] = task.measure(black, task.example(0, 0)).values["miou"]
    assert scores[False] == 0 < scores[True]


def test_a_frame_is_compared_with_a_copy_of_the_last_one():
    task, example, _ = built("frames")
    assert task.measure(example.query, example).values["gain_over_copy"] == 0


def test_lpips_needs_weights(tmp_path):
    with pytest.raises(ConfigError, match=r"vgg16_weights: cannot use .*none\.pth"):
        registry.build(
            "colorization",
            Made(query=PICTURE, answer=PICTURE),
            {"vgg16_weights": str(tmp_path / "none.pth")},
        )


def test_lpips_is_measured_with_weights(monkeypatch):
    """The network itself has its own tests; here another distance stands for it."""
    given = []
    monkeypatch.setattr(
        perceptual_weights, "load", lambda config, files: given.append(files) or 2.0
    )
    monkeypatch.setattr(
        perceptual, "distance", lambda _, params, x, y: params * abs(x - y).mean((1, 2, 3))
    )
    asked = Made(query=PICTURE, answer=PICTURE)
    task = registry.build(
        "colorization", asked, {"vgg16_weights": "vgg", "lpips_weights": "linear"}
    )
    example = task.example(0, 0)
    assert given == [["vgg", "linear"]] and task.metrics[-1].name == "lpips"
    assert task.measure(PICTURE, example).values["lpips"] == 0
    expected = 2 * np.abs(images.to_float(OTHER) - images.to_float(PICTURE)).mean()
    measured = task.measure(OTHER, example).values
    assert measured["lpips"] == pytest.approx(expected, rel=1e-5)
    # Pictures that were not rounded yet mean the same.
    assert task.measure(images.to_float(OTHER), example).values == pytest.approx(measured)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four photographs, their label maps, and a COCO-style file of a body in each."""
    root = tmp_path_factory.mktemp("photographs")
    names = ("astronaut", "coffee", "chelsea", "rocket")
    listed, bodies = [], []
    for number, name in enumerate(names, 1):
        picture = real_pictures.photograph(name)
        images.write_image(root / "pictures" / f"{name}.png", picture)
        labels = np.minimum(real_pictures.gray(picture) * 5 // 256, 4).astype(np.uint8)
        (root / "labels").mkdir(exist_ok=True)
        PIL.Image.fromarray(labels).save(root / "labels" / f"{name}.png")
        listed.append({"id": number, "file_name": f"{name}.png", "width": SIDE, "height": SIDE})
        points = [20, 20, 2, 70 - number, 24, 2, 45, 60, 0]
        bodies.append({"id": number, "image_id": number, "category_id": 1, "keypoints": points})
    category = {"id": 1, "name": "cat", "keypoints": ["a", "b", "c"], "skeleton": [[1, 2]]}
    content = {"images": listed, "annotations": bodies, "categories": [category]}
    (root / "bodies.json").write_text(json.dumps(content))
    return root


def sourced(pictures, kind, size=64, **fields):
    values = {"kind": kind, "folder": str(pictures / "pictures"), "pairs_per_sentence": 2, **fields}
    loader = SquareLoader(ImageConfig(), size)
    return SentenceExamples(source=corpora.build_source(values, "source"), loader=loader)


def test_the_hole_is_known_even_where_the_picture_is_black(pictures):
    asked = sourced(pictures, "inpainting", mask_ratio=0.25)
    example = asked.example(0, 0)
    hole = example.truth["hole"]
    assert hole.mean() == pytest.approx(0.25, abs=0.01)
    assert not example.query[hole].any()
    np.testing.assert_array_equal(example.query[~hole], example.answer[~hole])
    task = registry.build("inpainting", asked, {})
    measured = task.measure(example.query, example).values
    # The error lies in the hole alone.
    assert measured["psnr"] == pytest.approx(
        measured["hole_psnr"] - 10 * np.log10(hole.mean()), abs=1e-9
    )
    assert measured["hole_ssim"] < measured["ssim"] < 1


def test_joints_are_where_the_file_says(pictures):
    annotations = str(pictures / "bodies.json")
    for more in ({}, {"flip": True, "crop": (0.8, 1.0)}):
        asked = sourced(pictures, "keypoints", annotations=annotations, **more)
        task = registry.build("keypoints", asked, {"num_joints": 3, "num_limbs": 1})
        for index in range(3):
            example = task.example(0, index)
            assert np.isnan(example.truth["keypoints"][2]).all()  # not seen
            located = task._locate(example.answer)
            is_seen = ~np.isnan(example.truth["keypoints"][:, 0])
            # A dot that the border cuts has its middle elsewhere, others are whole pixels.
            assert np.nanmedian(np.abs(located - example.truth["keypoints"])[is_seen]) < 0.8
            assert task.measure(example.answer, example).values == {"pck": 1}
    with pytest.raises(ConfigError, match="num_joints=17, but bodies of keypoints have 3"):
        registry.build("keypoints", asked, {}).example(0, 0)


def test_label_maps_of_sources_are_exact(pictures):
    asked = sourced(
        pictures, "label_map", size=40, label_folder=str(pictures / "labels"), num_labels=6
    )
    task = registry.build("segmentation", asked, {"num_labels": 6})
    example = task.example(0, 0)
    labels = palette.decode(example.answer, 6)
    np.testing.assert_array_equal(palette.encode(labels, 6), example.answer)
    assert task.measure(example.answer, example).values["miou"] == 1
