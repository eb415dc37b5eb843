"""Groups of a class, and several annotations of an image."""

import collections
import logging

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.sentences.kinds import KINDS


def touch(path):
    images.write_image(path, np.zeros((2, 2, 3), np.uint8))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    for name, size in {"cat": 11, "dog": 4, "deep/owl": 3, "one": 1}.items():
        for number in range(size):
            touch(root / name / f"{number}.png")
    return str(root)


def test_a_group_is_of_one_class_and_shows_no_image_twice(classes):
    source = KINDS["category"](folder=classes, group_size=4)
    # cat gives two groups of four, dog one, owl one of three.
    assert source.num_sentences() == 4
    assert (source.fewest_images, source.images_per_sentence) == (3, 4)
    for epoch in range(4):
        sizes = collections.Counter()
        shown = []
        for index in range(4):
            keys = source.sentence(0, epoch, index).key.split("+")
            (name,) = {key.rsplit("/", 1)[0] for key in keys}
            sizes[name, len(keys)] += 1
            shown += keys
        assert sizes == {("cat", 4): 2, ("dog", 4): 1, ("deep/owl", 3): 1}
        assert len(set(shown)) == len(shown) == 15


def test_what_is_left_over_comes_in_another_epoch(classes):
    source = KINDS["category"](folder=classes, group_size=4)
    shown = [source.sentence(0, e, i).key for e in range(8) for i in range(4)]
    assert len(set("+".join(shown).split("+"))) == 18
    assert len(set(shown)) > 25, "groups are drawn anew"


def test_classes_that_are_too_small_are_named(classes, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        source = KINDS["category"](folder=classes, smallest_group=4)
        assert list(source.deck.classes) == ["cat", "dog"]
    assert "2 of 4 classes have fewer than 4 images" in caplog.text
    assert "deep/owl (3), one (1)" in caplog.text
    with pytest.raises(ValueError, match=r"every class .* fewer than smallest_group=12 images"):
        KINDS["category"](folder=classes, smallest_group=12).num_sentences()
    with pytest.raises(ValueError, match=r"^smallest_group=9 must lie"):
        KINDS["category"](folder=classes, smallest_group=9, group_size=8)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    root = tmp_path_factory.mktemp("annotated")
    for part in ("color", "depth", "normal", "segment"):
        for number in range(9):
            touch(root / f"model{number % 3}" / part / f"{number}.png")
    return root


def make_source(annotated, **values):
    folders = [str(annotated / "*" / part) for part in ("color", "depth", "normal", "segment")]
    return KINDS["multi_annotation"](
        folder=folders[0], annotation_folders=tuple(folders[1:]), **values
    )


def test_elements_and_order_are_the_same_for_all_images(annotated):
    source = make_source(annotated, crop=(0.5, 1.0), flip=True)
    assert [item.key for item in source.items][:2] == ["model0/0", "model0/3"]
    seen = collections.Counter()
    for index in range(300):
        sentence = source.sentence(0, 0, index)
        parts = [ref.path.split("/")[-2] for ref in sentence.images]
        names = [ref.path.split("/")[-1] for ref in sentence.images]
        m = names.count(names[0])
        assert m >= 2 and len(parts) == 16 // m * m <= source.images_per_sentence
        for start in range(0, len(parts), m):
            assert parts[start : start + m] == parts[:m] and len(set(parts[:m])) == m
            assert len(set(names[start : start + m])) == 1
            squares = {(ref.crop, ref.flip) for ref in sentence.images[start : start + m]}
            assert len(squares) == 1
        assert len(set(names)) == len(parts) // m == len(sentence.key.split("+"))
        seen[m, tuple(parts[:m])] += 1
    # 12 + 24 + 24 orders of 2, 3 and 4 elements; each m is as likely as the others.
    assert {m for m, _ in seen} == {2, 3, 4} and len(seen) > 45
    counts = [sum(n for (m, _), n in seen.items() if m == size) for size in (2, 3, 4)]
    assert all(65 < count < 135 for count in counts)  # 100 +- 8


def test_most_images_bounds_a_sentence(annotated):
    source = make_source(annotated, fewest=3, most=3, most_images=8)
    assert source.images_per_sentence == 6
    assert {len(source.sentence(0, 0, index).images) for index in range(9)} == {6}


def test_files_without_partner_are_named(annotated, tmp_path):
    touch(tmp_path / "model0" / "normal" / "0.png")
    touch(tmp_path / "model9" / "normal" / "9.png")
    source = KINDS["multi_annotation"](
        folder=str(annotated / "*" / "color"),
        annotation_folders=(str(annotated / "*" / "depth"), str(tmp_path / "*" / "normal")),
        name="parts",
    )
    with pytest.raises(ValueError) as caught:
        _ = source.items
    message = str(caught.value)
    assert "\n" not in message and "parts.exclude" in message
    assert "model9/normal/9.png has no partner in" in message and "more)" in message


@pytest.mark.parametrize(
    "values,message",
    [
        ({"fewest": 0}, r"fewest=0"),
        ({"fewest": 3, "most": 2}, r"fewest=3 <= most=2"),
        ({"most": 5}, r"most=5 <= 4 elements"),
        ({"most_images": 3}, r"most=4 .*most_images=3"),
    ],
)
def test_bad_values_name_their_key(annotated, values, message):
    with pytest.raises(ValueError, match=message):
        make_source(annotated, **values)


def test_folders_must_be_given_and_differ():
    make = KINDS["multi_annotation"]
    with pytest.raises(ValueError, match="annotation_folders is empty"):
        make(folder="x", annotation_folders=())
    with pytest.raises(ValueError, match="must all differ"):
        make(folder="x", annotation_folders=("y", "x"))
