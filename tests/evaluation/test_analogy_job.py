"""A whole evaluation from directories on disk."""

import json

import pytest

from lvm_jax import images
from lvm_jax.evaluation import analogy_experiment, analogy_job
from lvm_jax.evaluation.asking import evaluation_file
from lvm_jax.generation.language_model import load_model
from lvm_jax.tokenizer.codec import load_tokenizer

AMOUNTS = {"seeds": [0, 1], "num_examples": 2, "num_answered": 1, "num_candidates": 1}


def experiment_values(folder, **changes):
    pairs = {"folder": str(folder), "pairs_per_sentence": 2, "crop": (0.4, 0.9)}
    return {
        "title": "A test",
        "tasks": {
            "colors": {"kind": "colorization", **pairs},
            "lines": {"kind": "edges", **pairs},
        },
        "reconstructions": [{"kind": "single", "folder": str(folder)}],
        "num_reconstructions": 5,
        "evaluation": {**AMOUNTS, "num_shown": 1, "batch_size": 4},
        **changes,
    }


def test_it_writes_scores_and_a_report(trained, folder, tmp_path):
    experiment = analogy_experiment.build_experiment(experiment_values(folder))
    parts = []
    results = analogy_job.run(
        experiment,
        load_model(trained / "model"),
        load_tokenizer(trained / "tokenizer"),
        tmp_path / "out",
        model_dir=trained / "model",
        tokenizer_dir=trained / "tokenizer",
        commands=[("What one may do next", "do it --now")],
        progress=parts.append,
    )
    assert len(parts) == analogy_job.num_parts(experiment)
    assert [result.name for result in results] == ["colors", "lines"]
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content["manifest"]["seeds"] == [0, 1]
    assert len(content["manifest"]["prompts"]["lines"]) == 2 * 2
    mean = content["results"]["lines"]["perplexity_of_truth"]["model"]["mean"]
    assert mean == pytest.approx(results[1].truth.mean())
    again = evaluation_file.read(tmp_path / "out" / "evaluation.json")
    assert [task.deciding.mean() for task in again] == pytest.approx(
        [task.deciding.mean() for task in results]
    )
    # A prompt of each task: a pair, query, answer, truth, what the tokenizer makes of it; 16 -> 80.
    picture = images.read_image(tmp_path / "out" / "answers.png")
    assert picture.shape[1] > 6 * 80 and picture.shape[0] > 2 * 80
    text = (tmp_path / "out" / "report.html").read_text()
    for words in ("A test", "colors", "peak_lr", "unigram of the codes", "Codebook usage"):
        assert words in text
    # Both trainings' metrics.jsonl: 40 steps of half a second each.
    assert text.count("<svg") == 3 + 2
    assert "40 s" in text
    assert "What one may do next" in text and "do it --now" in text
    assert "(eval_data)" in text  # the training had no held-out data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": []}, "config.tasks is empty"),
        ({"title2": "x"}, r"config.title2='x'; did you mean config.title\?"),
        ({"evaluation": {"num_seeds": 3}}, "config.evaluation.num_seeds"),
        ({"tasks": [{"kind": "colour", "folder": "."}]}, r"config.tasks\[0\].kind='colour'"),
        ({"tasks": [{"kind": "single", "folder": "."}]}, "sentences of 1 image"),
        ({"tasks": [{"kind": "edges", "folder": "."}] * 2}, "names .* must differ"),
    ],
)
def test_what_cannot_be_evaluated_is_named(folder, change, message):
    with pytest.raises(ValueError, match=message):
        analogy_experiment.build_experiment(experiment_values(folder, **change))
