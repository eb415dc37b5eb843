"""A corpus before it is built: how much it holds."""

from lvm_jax.sentences import corpora, preview


def test_counts_are_those_of_the_sentences(small_corpus):
    sentences = corpora.sentences(small_corpus)
    expected = {}
    for sentence in (sentences[i] for i in range(len(sentences))):
        count = expected.setdefault(sentence.source, [0, 0])
        count[0] += 1
        count[1] += len(sentence.images)
    counts = {each.source: each for each in preview.count(small_corpus)}
    assert expected == {name: [each.sentences, each.images] for name, each in counts.items()}
    assert expected["classes"] == [4, 2 * (4 + 2)] and counts["plain"].sentences == 6000
    assert all(each.exact for each in counts.values())
    assert sum(each.images for each in counts.values()) <= sentences.num_images


def test_counts_that_are_inferred_say_so(small_corpus, monkeypatch):
    monkeypatch.setattr(preview, "_MOST_LOOKED_AT", 3)
    classes, blurred, _ = preview.count(small_corpus)
    assert not classes.exact and blurred.exact
    assert "~" in preview.describe(preview.count(small_corpus), 4).splitlines()[2]


def test_the_table_names_sources_kinds_and_tokens(small_corpus):
    lines = preview.describe(preview.count(small_corpus), 256).splitlines()
    assert lines[0].split()[:3] == ["source", "kind", "items"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if not line.startswith("-")}
    assert rows["blurred"] == ["blur", "7", "4", "24", "6,144", "0.4%"]
    assert rows["plain"][:2] == ["single", "7"] and rows["all"][:2] == ["3", "kinds"]
    assert lines[-1].split()[-2:] == ["6,036", f"{6036 * 256:,}"]
    assert len({len(line) for line in lines[:5]}) == 1, "columns stand below each other"
