"""A corpus before it is built: how much it holds, and what it looks like."""

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.sentences import compose, preview, spec


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, size in {"cat": 5, "dog": 2}.items():
        for number in range(size):
            picture = rng.integers(0, 200, (16, 16, 3), dtype=np.uint8)
            images.write_image(root / name / f"{number}.png", picture)
    sources = {
        "classes": {"kind": "category", "folder": str(root), "group_size": 4},
        "blurred": {"kind": "blur", "folder": str(root), "pairs_per_sentence": 3},
        "plain": {"kind": "single", "folder": str(root), "sentences_per_epoch": 3000},
    }
    return compose.build_corpus({"sources": sources, "epochs": 2})


def test_counts_are_those_of_the_sentences(corpus):
    found = compose.sentences(corpus)
    expected = {}
    for sentence in (found[i] for i in range(len(found))):
        count = expected.setdefault(sentence.source, [0, 0])
        count[0] += 1
        count[1] += len(sentence.images)
    counts = {each.source: each for each in preview.count(corpus)}
    assert expected == {name: [each.sentences, each.images] for name, each in counts.items()}
    assert expected["classes"] == [4, 2 * (4 + 2)] and counts["plain"].sentences == 6000
    assert all(each.exact for each in counts.values())
    assert sum(each.images for each in counts.values()) <= found.num_images


def test_counts_that_are_inferred_say_so(corpus, monkeypatch):
    monkeypatch.setattr(preview, "_MOST_LOOKED_AT", 3)
    classes, blurred, _ = preview.count(corpus)
    assert not classes.exact and blurred.exact
    assert "~" in preview.describe(corpus, 4).splitlines()[2]


def test_the_table_names_sources_kinds_and_tokens(corpus):
    lines = preview.describe(corpus, 256).splitlines()
    assert lines[0].split()[:3] == ["source", "kind", "items"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if not line.startswith("-")}
    assert rows["blurred"] == ["blur", "7", "4", "24", "6,144", "0.4%"]
    assert rows["plain"][:2] == ["single", "7"] and rows["all"][:2] == ["3", "kinds"]
    assert lines[-1].split()[-2:] == ["6,036", f"{6036 * 256:,}"]
    assert len({len(line) for line in lines[:5]}) == 1, "columns stand below each other"


def test_the_sheet_shows_the_sentences(corpus):
    size = 40
    sheet = preview.contact_sheet(corpus, size, per_source=2)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    sentence = corpus.sources[1].sentence(0, 0, 0)
    for position, ref in enumerate(sentence.images):
        left = preview._LABEL_WIDTH + 2 + position * (size + 2)
        cell = sheet[2 * (size + 4) + 2 :][:size, left : left + size]
        np.testing.assert_array_equal(cell, spec.load(ref, size))
    for row in range(6):
        label = sheet[row * (size + 4) : (row + 1) * (size + 4), : preview._LABEL_WIDTH]
        assert label.min() < 128, "something is written there"
    assert len(sheet) == 6 * (size + 4)


def test_bad_sizes_are_refused(corpus):
    with pytest.raises(ValueError, match="per_source=0"):
        preview.contact_sheet(corpus, 8, per_source=0)
