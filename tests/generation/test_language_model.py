"""A model from a training workdir gives the logits of the parameters that were saved."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lvm_jax
from lvm_jax import configs
from lvm_jax.images import ImageConfig
from lvm_jax.model import transformer
from lvm_jax.training.checkpoints import Checkpoints
from lvm_jax.training.workdir import RunIdentity, prepare_workdir


@pytest.fixture(scope="module")
def workdir(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    resolved = {
        # A kernel of the machine that trained it, not of the one that loads it.
        "model": {**configs.to_dict(model.config), "attention": "splash"},
        "tokenizer_fingerprint": model.tokenizer_fingerprint,
    }
    prepare_workdir(folder, RunIdentity(resolved=resolved, fixed=("model",)))
    writer = Checkpoints(folder, resolved)
    for step, scale in ((1, 0.0), (2, 1.0)):
        state = {"params": jax.tree.map(lambda leaf, s=scale: leaf * s, model.params), "step": step}
        writer.save(step, state)
    writer.wait(2, state)
    writer.close()
    return folder


def test_the_newest_step_is_loaded(workdir, model):
    loaded = lvm_jax.load_model(workdir)
    assert loaded.config == model.config
    assert loaded.tokenizer_fingerprint == model.tokenizer_fingerprint
    ids = np.arange(12).reshape(2, 6)
    logits = loaded.logits(ids)
    assert logits.shape == (2, 6, model.vocabulary.size)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, model.logits(ids))
    expected = transformer.apply(model.config, model.params, jnp.asarray(ids))[
        ..., : model.vocabulary.size
    ]
    # The same graph with and without the slice; fusion may round differently.
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_how_pictures_were_read_comes_with_it(workdir, tmp_path):
    assert lvm_jax.load_model(workdir).images is None, "an earlier version did not say"
    resolved = json.loads((workdir / "config.json").read_text())
    resolved["images"] = {"resize": "squash", "background": [0, 0, 0]}
    (tmp_path / "config.json").write_text(json.dumps(resolved))
    (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
    expected = ImageConfig(resize="squash", background=(0, 0, 0))
    assert lvm_jax.load_model(tmp_path).images == expected
    resolved["images"] = {"resize": "stretch"}
    (tmp_path / "config.json").write_text(json.dumps(resolved))
    with pytest.raises(ValueError, match=r"config\.json: images\.resize='stretch'"):
        lvm_jax.load_model(tmp_path)


def test_logits_are_causal(model):
    ids = np.arange(16).reshape(2, 8)
    changed = ids.copy()
    changed[:, 5] = 31
    before, after = model.logits(ids), model.logits(changed)
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros((1, 65), np.int32), "context of 64"),
        (np.zeros(4, np.int32), r"\[B, L\]"),
        (np.zeros((1, 4)), "float64"),
        (np.full((1, 4), 35), r"0\.\.34"),
        (np.full((1, 4), -1), r"0\.\.34"),
    ],
)
def test_bad_ids_are_refused(model, ids, message):
    with pytest.raises(ValueError, match=message):
        model.logits(ids)


def test_a_directory_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        lvm_jax.load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"tokenizer": {}}))
    with pytest.raises(ValueError, match=r"config.json: model is missing.*no transformer"):
        lvm_jax.load_model(tmp_path)


def test_a_config_that_does_not_fit_the_parameters_is_named(workdir, tmp_path):
    resolved = json.loads((workdir / "config.json").read_text())
    resolved["model"]["mlp_dim"] += 1
    (tmp_path / "config.json").write_text(json.dumps(resolved))
    (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
    with pytest.raises(ValueError, match=r"mlp.*has shape .* not"):
        lvm_jax.load_model(tmp_path)
