"""A trained run -> its file of results, on the toy model."""

import json
import shutil

import numpy as np
import pytest

from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.tasks.sequences import Continuation, SentenceSequences
from lvm_jax.training.metrics import MetricsWriter
from studies import finishing, measure, plan, results
from studies.finishing import Places
from studies.plan import Job
from studies.shown_before import ShownBefore
from tests import toys

NAME = "all_xs_c0.64_seed0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return toys.write_uvd_mini(tmp_path_factory.mktemp("uvd_mini"))


@pytest.fixture
def places(trained, root, tmp_path, monkeypatch):
    """A finished training of so few images that lengths must be short."""
    for name, value in {
        "SHOTS": 1,
        "PAIRS_BEFORE": (0, 1),
        "FRAMES_BEFORE": (1, 3),
        "NUM_PROMPTS": 4,
    }.items():
        monkeypatch.setattr(plan, name, value)
    run = tmp_path / "runs" / NAME
    shutil.copytree(trained / "model", run)
    shutil.copytree(trained / "tokenizer", tmp_path / "tokenizer")
    (run / "metrics.jsonl").unlink()
    config = json.loads((run / "config.json").read_text())
    config |= {"loop": {"num_steps": 40}}
    config |= {"data_fingerprint": "f" * 64, "eval_data_fingerprint": "e" * 64}
    (run / "config.json").write_text(json.dumps(config))
    writer = MetricsWriter(run)
    for step in range(1, 41):
        seen = {"train/tokens_seen": 90 * step, "train/tokens_with_loss_seen": 80 * step}
        line = {"train/loss": 100 / step, "perf/sec_per_step": 0.5, "data/epochs/all": step / 40}
        writer.write(step, line | seen)
    writer.write(40, {"eval/held_out/loss": 2.5, "eval/held_out/loss_by_kind/video": 2.25})
    writer.close()
    return Places(out=tmp_path, corpus=root, results=tmp_path / "results")


def test_a_run_becomes_a_small_file(places, model, tokenizer):
    finishing.finish(Job.of(NAME), places)
    found = results.read(places.results)[NAME]
    assert results.path(places.results, NAME).stat().st_size < 10_000
    assert found["held_out"] == {"loss": 2.5, "loss_by_kind": {"video": 2.25}}
    assert found["config"]["ids_with_loss"] == 3200 and found["config"]["epochs"] == 1
    assert found["config"]["data"] == "f" * 16 and found["config"]["held_out_data"] == "e" * 16
    assert found["config"]["steps"] == 40 and found["seconds"]["training"] == 20
    assert found["training"]["ids"][-1] == 3200 and found["training"]["loss"][0] == 100
    assert list(found["evaluations"]) == list(plan.TASKS)
    depth = found["evaluations"]["depth"]
    assert depth["prompts"] == len(depth["nll_of_prompts"]) == 4
    assert depth["nll"][0] == pytest.approx(np.mean(depth["nll_of_prompts"]), abs=1e-3)
    assert depth["perplexity"][0] >= np.exp(depth["nll"][0]) - 1e-3


def test_answers_are_scored_as_the_library_scores_them(places, model, tokenizer, tmp_path):
    """By hand: BOS, a pair, the query, and the loss of the answer's ids after these."""
    asked = measure.Asked(
        model=model, tokenizer=tokenizer, root=places.corpus, parts=tmp_path, num_prompts=2
    )
    found = asked.answers((0, 1))["normals"]
    from experiments.study import corpus
    from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
    from lvm_jax.images import ImageConfig
    from lvm_jax.pictures.loader import SquareLoader
    from lvm_jax.sentences import corpora

    values = {"normals": corpus.tasks(str(places.corpus / "held_out"), 2, 4)["normals"]}
    (source,) = corpora.build_sources(values, "tasks")
    loader = SquareLoader(ImageConfig(), tokenizer.image_size)
    example = SentenceExamples(source=source, loader=loader).example(0, 1)
    shown = np.concatenate([example.pairs[0], example.query[None], example.answer[None]])
    ids_nT = tokenizer.encode(shown)
    prompt = np.concatenate([[model.vocabulary.bos], ids_nT[:3].ravel()])
    nll = perplexity.target_nll(model, prompt[None], ids_nT[3:].ravel()[None])
    assert found["by_length"]["1"]["nll_of_prompts"][1] == pytest.approx(nll.mean(), abs=1e-3)


def test_context_is_measured_by_length_with_the_same_targets(places):
    job = Job.of(f"context_{NAME}")
    finishing.finish(job, places)
    found = results.read(places.results)[job.name]["evaluations"]
    assert list(found) == [*plan.VIDEOS, *plan.TASKS]
    for task, lengths in {"animation": (1, 3), "depth": (0, 1)}.items():
        by_length = found[task]["by_length"]
        assert list(by_length) == [str(length) for length in lengths]
        (short, long) = by_length.values()
        assert "gain" not in short
        assert long["gain"][0] == pytest.approx(short["nll"][0] - long["nll"][0], abs=1e-4)


@pytest.mark.parametrize("period", [1, 2])
def test_what_was_shown_before_is_the_end_over_and_over(period):
    pixels = np.arange(8, dtype=np.uint8)[:, None, None, None]
    asked = Continuation(images=pixels[:7], targets=pixels[7:], keys=("a",), where="here")

    class Sequences:
        name, num_sequences = "seven", 1

        def sequence(self, seed, index):
            return asked

    shown = ShownBefore(sequences=Sequences(), period=period).sequence(0, 0)
    images = {1: [7] * 7, 2: [6, 7, 6, 7, 6, 7, 6]}[period]  # the query comes last
    assert shown.images.ravel().tolist() == images
    assert shown.targets is asked.targets and shown.keys == asked.keys


def test_copies_are_asked_of_the_prompts_of_every_run(places, monkeypatch):
    monkeypatch.setattr(plan, "SHOTS_SHOWN", (0, 1))
    monkeypatch.setattr(plan, "TIMES_SHOWN", (1, 3))
    for job in (NAME, f"context_{NAME}", f"copies_{NAME}"):
        finishing.finish(Job.of(job), places)
    found = results.read(places.results)
    context, copies = (found[f"{kind}_{NAME}"]["evaluations"] for kind in ("context", "copies"))
    assert list(context) == list(copies)
    for task in plan.TASKS:
        # Without a pair nothing is shown before.
        assert context[task]["by_length"]["0"] == copies[task]["by_length"]["0"]
        assert context[task]["by_length"]["1"] != copies[task]["by_length"]["1"]
        assert context[task]["things"] == copies[task]["things"] >= 1


def test_a_training_that_has_not_ended_is_not_measured(places):
    run = places.out / "runs" / NAME / "metrics.jsonl"
    run.write_text("".join(run.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="no held-out loss yet; start it again"):
        finishing.finish(Job.of(NAME), places)


@pytest.mark.parametrize(
    ("path", "thing"),
    [
        ("emoji_mask/1f469-1f3fb-200d-1f9bc.png", "1f469-200d-1f9bc"),
        ("edges/emoji_3d/265f-fe0f.png", "265f-fe0f"),
        ("models/scopia_chair/depth/045.png", "scopia_chair"),
        ("edges/models/scopia_chair/color/045.png", "scopia_chair"),
        ("emoji_anim/1f404/00050.png", "1f404"),
    ],
)
def test_things_are_told_by_their_files(path, thing):
    assert measure.thing_of(f"/any/held_out/{path}|1,2,3|flip|()") == thing


def test_sentences_end_with_what_follows(root, tokenizer):
    from experiments.study import corpus
    from lvm_jax.images import ImageConfig
    from lvm_jax.pictures.loader import SquareLoader
    from lvm_jax.sentences import corpora

    values = {"animation": corpus.tasks(str(root / "held_out"), 1, 4)["animation"]}
    (source,) = corpora.build_sources(values, "tasks")
    loader = SquareLoader(ImageConfig(), tokenizer.image_size)
    asked = {"source": source, "num_sequences": 3, "loader": loader}
    one = SentenceSequences(**asked, num_targets=1).sequence(0, 2)
    two = SentenceSequences(**asked, num_targets=2).sequence(0, 2)
    np.testing.assert_array_equal(one.images[:2], two.images)
    np.testing.assert_array_equal(one.targets[0], two.targets[1])
    assert len(one.keys) == 4 and one.keys == two.keys
    with pytest.raises(ValueError, match=r"num_targets=4 must lie in 1\.\.3"):
        SentenceSequences(**asked, num_targets=4)
