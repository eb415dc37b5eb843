"""A corpus before it is built: how much it holds, and what it looks like."""

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.sentences import compose, preview


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
    assert "~" in preview.describe(preview.count(corpus), 4).splitlines()[2]


def test_the_table_names_sources_kinds_and_tokens(corpus):
    lines = preview.describe(preview.count(corpus), 256).splitlines()
    assert lines[0].split()[:3] == ["source", "kind", "items"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if not line.startswith("-")}
    assert rows["blurred"] == ["blur", "7", "4", "24", "6,144", "0.4%"]
    assert rows["plain"][:2] == ["single", "7"] and rows["all"][:2] == ["3", "kinds"]
    assert lines[-1].split()[-2:] == ["6,036", f"{6036 * 256:,}"]
    assert len({len(line) for line in lines[:5]}) == 1, "columns stand below each other"
