"""A run that could memorise unseen says so before it starts."""

import pytest

from lvm_jax.training import loop, repeats
from lvm_jax.training.transformer import transformer_experiment, transformer_job
from lvm_jax.training.vqgan import tokenizer_job
from tests import toys

PLAIN = {"generator_weight": 0.0}


@pytest.mark.parametrize(
    ("epochs", "watched", "warned"),
    [({"a": 55.0}, False, True), ({"a": 1.0, "b": 55.0}, False, True)]
    + [({"a": 55.0}, True, False), ({"a": 4.0}, False, False)],
)
def test_many_epochs_without_held_out_data_are_said(epochs, watched, warned, caplog):
    repeats.warn_if_unwatched(epochs, "eval_data", watched=watched)
    assert ("55 times" in caplog.text and "set eval_data" in caplog.text) is warned


@pytest.mark.parametrize("steps", [4, 400])
@pytest.mark.parametrize("watched", [True, False])
def test_both_trainings_look(steps, watched, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(loop, "run", lambda *_, **__: {})
    shards = {"shards": toys.write_shards(tmp_path / "shards"), "context": 16}
    corpus = {"sources": [{"kind": "single", "folder": toys.write_pictures(tmp_path / "p", 40)}]}
    of_both = {"batch_size": 8, "mesh": {"fsdp": 8}, "loop": {"num_steps": steps}}
    transformer = {**of_both, "data": shards, "model": {"preset": "debug", "context": 16}}
    tokenizer = {**of_both, "corpus": corpus, "tokenizer": {"preset": "debug"}, "training": PLAIN}
    transformer_job.train(
        transformer_experiment.build_experiment(
            transformer | ({"eval_data": shards} if watched else {})
        ),
        tmp_path / "model",
    )
    tokenizer_job.train(
        tokenizer_job.build_experiment(tokenizer | ({"eval_corpus": corpus} if watched else {})),
        tmp_path / "tokenizer",
    )
    warned = steps == 400 and not watched
    for key in ("set eval_data", "set eval_corpus"):
        assert (key in caplog.text) is warned
