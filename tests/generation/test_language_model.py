"""A model from a workdir, or by itself, gives the logits of the parameters that were saved."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lvm_jax
from lvm_jax import configs, trees
from lvm_jax import mesh as mesh_lib
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.images import ImageConfig
from lvm_jax.model import transformer
from lvm_jax.training import model_directory
from lvm_jax.training.checkpoints import Checkpoints
from lvm_jax.training.stored_params import StoredParams
from lvm_jax.training.workdir import RunIdentity, prepare_workdir
from lvm_jax.vocabulary import Framing


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


def write_model(directory, model, **changes):
    """A model directory; changes are of config.json."""
    flat = trees.flatten(model.params)
    shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in flat.items()}
    config = model_directory.describe(
        model.config,
        framing=Framing(bos=False, eos=False),
        tokenizer_fingerprint=model.tokenizer_fingerprint,
        images=ImageConfig(resize="squash"),
    )
    with model_directory.Writer(directory, {**config, **changes}, shapes) as writer:
        for name, leaf in flat.items():
            writer.write(name, leaf)


def assert_same_params(one, other):
    assert trees.first_differences(one, other) == []
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_model_by_itself_is_loaded_with_its_framing(model, tmp_path):
    write_model(tmp_path, model)
    loaded = lvm_jax.load_model(tmp_path)
    assert (loaded.config, loaded.mesh) == (model.config, None)
    assert loaded.framing == Framing(bos=False, eos=False)
    assert loaded.images == ImageConfig(resize="squash")
    assert loaded.tokenizer_fingerprint == model.tokenizer_fingerprint
    assert_same_params(loaded.params, model.params)
    with pytest.raises(ValueError, match="is a model, not a run: it has no step 3; leave it out"):
        lvm_jax.load_model(tmp_path, step=3)


def test_a_step_of_a_run_and_what_it_lacks(workdir, model):
    loaded = lvm_jax.load_model(workdir, step=1)
    assert not any(leaf.any() for leaf in jax.tree.leaves(loaded.params))
    assert loaded.framing == Framing(), "a training begins and ends its sentences"
    with pytest.raises(ValueError, match=r"no checkpoint of step 7; it has \[1, 2\]"):
        lvm_jax.load_model(workdir, step=7)
    with pytest.raises(ValueError, match="keeps no average"):
        lvm_jax.load_model(workdir, ema=True)


def test_a_smaller_type_is_that_of_the_computation(workdir, model):
    loaded = lvm_jax.load_model(workdir, dtype="bfloat16")
    dtypes = {name: leaf.dtype for name, leaf in trees.flatten(loaded.params).items()}
    assert {d for n, d in dtypes.items() if n.endswith("kernel")} == {jnp.dtype("bfloat16")}
    assert {d for n, d in dtypes.items() if n.endswith("scale")} == {jnp.dtype("float32")}
    config = dataclasses.replace(model.config, dtype="bfloat16")
    ids = np.arange(12).reshape(2, 6)
    rounded_when_used = LanguageModel(config=config, params=model.params)
    np.testing.assert_array_equal(loaded.logits(ids), rounded_when_used.logits(ids))


def test_devices_share_the_parameters(workdir, model):
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(fsdp=4, tensor=2))
    for dtype in ("float32", "bfloat16"):
        loaded = lvm_jax.load_model(workdir, dtype=dtype, mesh=mesh)
        kernel = loaded.params["layers"]["mlp"]["up"]["kernel"]
        assert {8 * shard.data.size for shard in kernel.addressable_shards} == {kernel.size}
        alone = lvm_jax.load_model(workdir, dtype=dtype)
        assert_same_params(jax.device_get(loaded.params), alone.params)
    ids = np.arange(12).reshape(2, 6)
    sharded = lvm_jax.load_model(workdir, mesh=mesh)
    # Sums over devices are added in another order.
    np.testing.assert_allclose(sharded.logits(ids), model.logits(ids), atol=1e-5)


def test_parameters_that_lack_something_or_have_more_are_named(model, tmp_path):
    params = {**model.params, "extra": {"scale": jnp.zeros(3)}}
    del params["head"]
    write_model(tmp_path, dataclasses.replace(model, params=params))
    with pytest.raises(
        ValueError,
        match=r"do not fit .*json: model: extra/scale is unexp.*; head/kernel is missing;",
    ):
        lvm_jax.load_model(tmp_path)


def test_another_tokenizer_is_refused_with_both_fingerprints(model, tokenizer, tmp_path):
    write_model(tmp_path, model, tokenizer_fingerprint="f" * 64)
    loaded = lvm_jax.load_model(tmp_path)
    both = rf"{tokenizer.fingerprint[:12]} is not the model's {'f' * 12}; use the tokenizer"
    with pytest.raises(ValueError, match=both):
        loaded.check_tokenizer(tokenizer)


def test_another_tokenizer_is_refused_before_parameters_are_read(
    model, tokenizer, tmp_path, monkeypatch
):
    write_model(tmp_path, model, tokenizer_fingerprint="f" * 64)
    monkeypatch.delattr(StoredParams, "read")
    with pytest.raises(ValueError, match="is not the model's"):
        lvm_jax.load_model(tmp_path, tokenizer=tokenizer)


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
