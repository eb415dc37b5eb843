"""The corpora that the pages' numbers were measured on show the same sentences for ever."""

import hashlib
import pathlib

import pytest

from experiment_files import load_experiment
from lvm_jax.sentences import corpora

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Names that the patterns of the experiments match. Drawing sentences opens no picture.
NAMES = {
    "models": [f"{angle:03d}" for angle in range(0, 360, 15)],
    "emoji_groups": [f"{group}/{i}" for group in ("animals", "food") for i in range(20)],
    "emoji_anim": [f"{name}/{i}" for name in ("cat", "dog") for i in range(70)],
}
OTHERS = ["1f1e6-1f1e8", *(f"1f4{i:02x}" for i in range(30))]


def touch(folder):
    for model in ("chair", "desk") if "*" in folder else ("",):
        for name in next((v for key, v in NAMES.items() if f"/{key}" in folder), OTHERS):
            path = pathlib.Path(folder.replace("*", model)) / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def corpus_of(experiment, part, root):
    config = load_experiment(f"{ROOT}/experiments/{experiment.replace('ROOT', str(root))}")
    if part == "tasks":
        return corpora.build_corpus({"sources": dict(config["tasks"])})
    return corpora.build_corpus(config[part])


@pytest.mark.parametrize(
    ("experiment", "part", "golden"),
    [
        ("quickstart_sentences.py:root=ROOT", "corpus", "826b8493bbc8"),
        ("quickstart_tokenizer.py:root=ROOT", "corpus", "333bf5532cec"),
        ("quickstart_evaluation.py:root=ROOT", "tasks", "890a29476a47"),
        ("uvd_mini.py:root=ROOT", "corpus", "deedce767c59"),
        ("uvd_mini.py:root=ROOT,split=held_out", "corpus", "6dd5d0e9103c"),
        ("study/corpus.py:root=ROOT", "corpus", "974b256632f1"),
        ("study/corpus.py:root=ROOT,split=held_out", "corpus", "15d3a6595cf8"),
    ],
)
def test_golden_sentences_of_experiments(experiment, part, golden, tmp_path):
    corpus = corpus_of(experiment, part, tmp_path)
    for source in corpus.sources:
        more = getattr(source, "annotation_folders", (getattr(source, "annotation_folder", ""),))
        for folder in filter(None, (source.folder, *more)):
            touch(folder)
    digest = hashlib.sha256()
    for source in corpus.sources:
        for index in range(source.num_sentences()):
            sentence = source.sentence(corpus.seed, 0, index)
            row = [sentence.source, sentence.key, *(ref.key for ref in sentence.images)]
            digest.update("\t".join(row).replace(tmp_path.as_posix(), "").encode())
    assert digest.hexdigest()[:12] == golden
