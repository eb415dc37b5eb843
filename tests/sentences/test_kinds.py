"""Every kind of source through everything that sources go through."""

import hashlib
import json
import os

import numpy as np
import PIL.Image
import pytest

from lvm_jax import configs, images
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.pictures import render
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from lvm_jax.sentences.coco.relation import Drawing
from lvm_jax.sentences.kinds import KINDS
from lvm_jax.sentences.layouts import Pairs
from tests.toys import pixels_of

SIZE = 16
PAIRS = [kind for kind, source in KINDS.items() if source.layout_class is Pairs]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three clips of six frames, which are also classes, with annotations of every sort."""
    root = tmp_path_factory.mktemp("all")
    rng = np.random.default_rng(0)
    listed, entries = [], []
    for clip in "abc":
        for number in range(6):
            name = f"{clip}/{number}"
            picture = rng.integers(1, 256, (20, 24, 3), dtype=np.uint8)
            images.write_image(root / "images" / f"{name}.png", picture)
            images.write_image(root / "negatives" / f"{name}.png", 255 - picture)
            labels = PIL.Image.fromarray(picture[..., 0] % 5)
            (root / "labels" / clip).mkdir(parents=True, exist_ok=True)
            labels.save(root / "labels" / f"{name}.png")
            identity = len(listed)
            listed.append({"id": identity, "file_name": f"{name}.png", "height": 20, "width": 24})
            box = {"bbox": [5, 4, 9, 8], "segmentation": [[5, 4, 14, 4, 14, 12]]}
            entries.append(
                {"id": identity, "image_id": identity, "category_id": 1 + number % 2, "area": 36}
                | {"keypoints": [6, 5, 2, 13, 11, 2]}
                | box
            )
    joints = {"keypoints": ["head", "foot"], "skeleton": [[1, 2]]}
    document = {
        "images": listed,
        "annotations": entries,
        "categories": [{"id": 1, "name": "one"} | joints, {"id": 2, "name": "two"} | joints],
    }
    (root / "all.json").write_text(json.dumps(document))
    return root


def values_of(kind, root):
    values = {"kind": kind, "folder": str(root / "images"), "crop": [0.4, 0.9], "flip": True}
    more = {
        "annotation": {"annotation_folder": str(root / "negatives")},
        "label_map": {"label_folder": str(root / "labels"), "num_labels": 5},
        "video": {"frames_per_sentence": 3, "strides": [1, 2]},
        "annotated_video": {
            "annotation_folder": str(root / "negatives"),
            "frames_per_sentence": 2,
            "strides": [1, 3],
        },
        "multiview": {"views_per_sentence": 4},
        "category": {"group_size": 4},
        "multi_annotation": {
            "annotation_folders": [str(root / "negatives"), str(root / "labels")],
            "most_images": 6,
        },
    }
    if kind in PAIRS:
        values["pairs_per_sentence"] = 2
    if issubclass(KINDS[kind].part_classes.get("relation", object), Drawing):
        values["annotations"] = str(root / "all.json")
    return {**values, **more.get(kind, {})}


def make(kind, root):
    return corpora.build_source(values_of(kind, root), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_are_a_function_of_seed_epoch_and_index(kind, root):
    first, again = make(kind, root), make(kind, root)
    number = first.num_sentences()
    forwards = [first.sentence(1, e, i) for e in range(2) for i in range(number)]
    backwards = [again.sentence(1, e, i) for e in (1, 0) for i in reversed(range(number))]
    assert forwards == backwards[::-1]
    assert first.sentence(2, 0, 0) != forwards[0]
    for sentence in forwards:
        assert sentence.kind == sentence.source == kind
        assert 0 < len(sentence.images) <= first.images_per_sentence
    assert max(len(s.images) for s in forwards) == first.images_per_sentence


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_becomes_pixels_and_equal_keys_are_equal_pixels(kind, root):
    source = make(kind, root)
    pixels: dict[str, np.ndarray] = {}
    for index in range(3):
        for ref in source.sentence(0, 0, index).images:
            image = pixels_of(ref, SIZE)
            assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8
            np.testing.assert_array_equal(pixels.setdefault(ref.key, image), image)


@pytest.mark.parametrize("kind", KINDS)
def test_configs_go_there_and_back(kind, root):
    corpus = corpora.build_corpus({"sources": {kind: values_of(kind, root)}})
    assert corpora.build_corpus(json.loads(json.dumps(configs.to_dict(corpus)))) == corpus


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprints_know_every_file(kind, root, monkeypatch):
    corpus = corpora.build_corpus({"sources": {kind: values_of(kind, root)}})
    sentences = corpora.sentences(corpus)
    before = sentences.fingerprint()
    assert before == corpora.sentences(corpus).fingerprint()
    used = {ref.path for i in range(len(sentences)) for ref in sentences[i].images}
    known = set(corpus.sources[0].files)
    assert used <= known
    assert sentences.num_images >= sum(len(sentences[i].images) for i in range(len(sentences)))
    size = os.path.getsize
    for path in sorted(known)[:: max(1, len(known) // 3)]:
        with monkeypatch.context() as patch:
            patch.setattr(os.path, "getsize", lambda p, q=path: size(p) + (p == q))
            assert sentences.fingerprint() != before


@pytest.mark.parametrize("kind", PAIRS)
def test_pairs_are_analogies(kind, root):
    source = make(kind, root)
    loader = SquareLoader(images.ImageConfig(), SIZE, 2**20)
    example = SentenceExamples(source=source, loader=loader).example(0, 1)
    assert example.pairs.shape == (1, 2, SIZE, SIZE, 3)
    assert (example.query != example.answer).any()
    row = source.sentence(0, 0, 1).images
    for question, answer in zip(row[::2], row[1::2]):
        assert (question.crop, question.flip) == (answer.crop, answer.flip)


@pytest.mark.parametrize("kind", KINDS)
def test_one_square_for_a_whole_sentence(kind, root):
    source = make(kind, root)
    for index in range(4):
        assert len({(r.crop, r.flip) for r in source.sentence(0, 0, index).images}) == 1


def digest(kind, root, **more):
    """Of a source's sentences, with names relative to the folder."""
    source = corpora.build_source({**values_of(kind, root), **more}, kind)
    keys = [
        "\t".join([sentence.key, *(ref.key for ref in sentence.images)])
        for seed in range(2)
        for epoch in range(2)
        for index in range(source.num_sentences())
        for sentence in [source.sentence(seed, epoch, index)]
    ]
    text = "\n".join(keys).replace(root.as_posix(), "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_golden_sentences(root):
    # Written down once: a change here changes every corpus that was ever built.
    assert {kind: digest(kind, root) for kind in KINDS} == GOLDENS
    assert {kind: digest(kind, root, same_crop=False) for kind in KINDS} == EACH_ITS_CROP


def test_golden_drawings(root):
    # On a gray square, so that only the drawing decides.
    digests = {}
    for kind in ("boxes", "keypoints", "segmentation"):
        ref = make(kind, root).sentence(0, 0, 0).images[1]
        square = np.full((48, 48, 3), 77, np.uint8)
        drawn = render.derived(ref, square, images.ImageConfig())
        digests[kind] = hashlib.sha256(drawn.tobytes()).hexdigest()[:12]
    assert digests == DRAWINGS


GOLDENS = {
    "single": "5a3cd9cdf8c6",
    "annotation": "8e14fe553a7f",
    "colorization": "92ca62adbed6",
    "inpainting": "289d2d52efd0",
    "edges": "c9cda7654e33",
    "blur": "fbe7487205d7",
    "noise": "b6232c3885cf",
    "low_light": "ed7e2d46ae45",
    "rain": "942519988dc0",
    "rotation": "2df353e602e9",
    "downscaling": "df66e8947072",
    "boxes": "e900f9dcf36d",
    "keypoints": "2cf4a2555019",
    "segmentation": "40dedb5304da",
    "label_map": "5330116b25e9",
    "video": "eaea11e190e0",
    "annotated_video": "3d74fc569362",
    "multiview": "f2092cb8d10e",
    "category": "39b19f9ebc61",
    "multi_annotation": "1bc44725a06c",
}
# With same_crop=False: written down when that was the default.
EACH_ITS_CROP = {
    "single": "5a3cd9cdf8c6",
    "annotation": "2bf7245b7035",
    "colorization": "d50aeaf606a5",
    "inpainting": "d19b4974aafe",
    "edges": "b3a344ae1283",
    "blur": "8e50b9dff631",
    "noise": "48e5dda589dd",
    "low_light": "0fe8c25a5743",
    "rain": "964a9c6b2372",
    "rotation": "cd46d833ffee",
    "downscaling": "f5140a91c5cb",
    "boxes": "2c12c86e7468",
    "keypoints": "a057b175c7d5",
    "segmentation": "8b99c7619a0f",
    "label_map": "ae82ad1a5059",
    "video": "eaea11e190e0",
    "annotated_video": "3d74fc569362",
    "multiview": "f2092cb8d10e",
    "category": "2475e2690c9a",
    "multi_annotation": "3112db73b569",
}
DRAWINGS = {
    "boxes": "0be42718325c",
    "keypoints": "78ed6d83ab4f",
    "segmentation": "6e219a250edb",
}


# What GOLDENS leaves at its default; written down before layouts and relations were told apart.
ONE_PICTURE = {"same_picture": True, "same_crop": False}
OPTIONS = [
    ("colorization", ONE_PICTURE, "3ed6cd8f54af"),
    ("inpainting", {"hole": "mixed", "grid": 4}, "adb47dbea719"),
    ("inpainting", {"hole": "patches", **ONE_PICTURE}, "982f325b4076"),
    ("blur", {"same_strength": True, **ONE_PICTURE}, "c76c5fee5a22"),
    ("low_light", {"same_strength": True, "sensor_noise": 1.0}, "8f7586f51735"),
    ("rain", {"same_strength": True, "steepest": 3}, "921b99b83163"),
    ("rotation", {"same_strength": True, "angles": [10, 90]}, "75472afa560a"),
    ("boxes", {"categories": ["two"], **ONE_PICTURE}, "85be8a26e38b"),
    ("keypoints", {"background": "picture", "coordinates": "stored"}, "c0ef701af0e2"),
    ("label_map", {"ignored": 3}, "7cc1fed48ac4"),
    ("video", {"frames_per_sentence": 1, "strides": [1]}, "d73010941990"),
    ("annotated_video", {"layout": "split"}, "04345599e347"),
    ("annotated_video", {"layout": "interleaved"}, "7d03a7e879c2"),
    ("multiview", {"views_per_sentence": 6, "strides": [1, 2, 3]}, "e527973f88b2"),
    ("category", {"group_size": 6, "sentences_per_epoch": 7}, "d4e9727cf4d8"),
    ("multi_annotation", {"fewest": 1, "most": 2, "same_crop": False}, "9b6915b136f8"),
    ("single", {"include": ["a/*", "b/1"], "exclude": ["a/3"], "crop": None}, "dd19a2a66c8f"),
]


@pytest.mark.parametrize("kind,values,golden", OPTIONS)
def test_golden_options(kind, values, golden, root):
    assert digest(kind, root, **values) == golden
