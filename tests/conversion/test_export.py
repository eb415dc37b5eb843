"""A training's parameters alone: the same numbers, or as they were asked for, without the run."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lvm_jax
from lvm_jax import trees
from lvm_jax.conversion import export
from lvm_jax.conversion.export import ExportConfig
from lvm_jax.images import ImageConfig
from lvm_jax.training import stored_params
from lvm_jax.vocabulary import Framing


def exported(run, out, **options):
    export.write(export.prepare(run, ExportConfig(**options)), out)
    return trees.flatten(stored_params.find(out).read())


def assert_equal(flat, tree):
    assert trees.first_differences(trees.unflatten(flat), tree) == []
    for name, leaf in trees.flatten(tree).items():
        np.testing.assert_array_equal(flat[name], leaf, err_msg=name)


def test_bits_and_logits_stay_and_the_run_is_not_needed(trained, model, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(trained, moved)
    before = lvm_jax.load_model(moved)
    exported(moved, tmp_path / "model", dtype="float32")
    shutil.rmtree(moved)
    after = lvm_jax.load_model(tmp_path / "model")
    assert_equal(trees.flatten(after.params), before.params)
    assert after.config == before.config == model.config
    assert after.tokenizer_fingerprint == model.tokenizer_fingerprint
    assert after.images == ImageConfig(resize="squash") and after.framing == Framing()
    ids = np.arange(12).reshape(2, 6)
    np.testing.assert_array_equal(after.logits(ids), before.logits(ids))
    source = json.loads((tmp_path / "model" / "config.json").read_text())["source"]
    assert (source["directory"], source["steps"], source["ema"]) == (str(moved), [6], False)


@pytest.mark.parametrize("block_bytes", [1, 1 << 10, 1 << 26])
def test_any_size_of_blocks_gives_the_same(trained, states, tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(export, "_BLOCK_BYTES", block_bytes)
    flat = exported(trained, tmp_path, step=4, ema=True)
    assert_equal(flat, jax.device_get(states[4]["ema"]))


def test_blocks_are_whole_pieces_and_bounded(trained, monkeypatch):
    array = stored_params.find(trained).array("layers/mlp/gate/kernel")
    assert (array.shape, array.piece_shape) == ((2, 32, 48), (2, 8, 24)), "a device's share"
    monkeypatch.setattr(export, "_BLOCK_BYTES", 4 * 2 * 16 * 48)
    assert export.block_shape(array) == (2, 16, 48)
    monkeypatch.setattr(export, "_BLOCK_BYTES", 1)
    assert export.block_shape(array) == array.piece_shape
    np.testing.assert_array_equal(array.read()[1, 3:9], array.read(np.s_[1, 3:9]))


def test_matrices_are_rounded_to_nearest_even_and_vectors_are_not(trained, states, tmp_path):
    flat = exported(trained, tmp_path / "short", dtype="bfloat16")
    for name, leaf in trees.flatten(jax.device_get(states[6]["params"])).items():
        if name.endswith("scale"):
            np.testing.assert_array_equal(flat[name], leaf)
            continue
        # By hand: half of the last bit that stays, less one, plus that bit.
        bits = leaf.view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        np.testing.assert_array_equal(flat[name].view(np.uint16), rounded.astype(np.uint16))
    # And back: as numbers nothing changes.
    wide = exported(tmp_path / "short", tmp_path / "wide", dtype="float32")
    for name, leaf in flat.items():
        np.testing.assert_array_equal(wide[name], leaf.astype(np.float32))
    about = json.loads((tmp_path / "wide" / "config.json").read_text())["source"]
    assert about["source"]["dtype"] == "bfloat16", "what it was made of says where it is from"
    # Computing in bfloat16 rounds the same way, so nothing is lost to it.
    ids = np.arange(12).reshape(2, 6)
    loaded = [lvm_jax.load_model(path, dtype="bfloat16") for path in (trained, tmp_path / "short")]
    np.testing.assert_array_equal(loaded[0].logits(ids), loaded[1].logits(ids))


@pytest.mark.parametrize(
    ("options", "steps"),
    [({"average_last": 2}, (4, 6)), ({"steps": (2, 6, 4)}, (2, 6, 4)), ({"average_last": 1}, (6,))],
)
@pytest.mark.parametrize("ema", [False, True])
def test_a_mean_is_that_of_float64(trained, states, tmp_path, options, steps, ema):
    flat = exported(trained, tmp_path, ema=ema, **options)
    for name, leaf in flat.items():
        each = [trees.flatten(states[s]["ema" if ema else "params"])[name] for s in steps]
        mean = np.mean([np.asarray(one, np.float64) for one in each], axis=0)
        np.testing.assert_array_equal(leaf, mean.astype(np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average_last": 5}, r"average_last=5, but .* has steps \[2, 4, 6\]"),
        ({"average_last": 0}, "average_last=0 must be at least 1"),
        ({"step": 2, "average_last": 2}, "give step or average_last, not both"),
        ({"steps": (2, 2)}, r"steps=\[2, 2\] names a checkpoint twice"),
        ({"steps": (2, 3)}, r"no checkpoint of step 3; it has \[2, 4, 6\]"),
    ],
)
def test_what_cannot_be_exported_is_said_first(trained, options, message):
    with pytest.raises(ValueError, match=message) as error:
        export.prepare(trained, ExportConfig(**options))
    assert "\n" not in str(error.value)


def test_a_dry_run_tells_everything(trained):
    prepared = export.prepare(trained, ExportConfig(dtype="bfloat16", ema=True, average_last=2))
    table, summary = list(export.table(prepared)), "\n".join(export.summary(prepared))
    assert len(table) == len(prepared.shapes)
    (line,) = (line for line in table if line.startswith("layers/mlp/gate/kernel"))
    assert line.split(maxsplit=1)[1].split("  ")[0] == "[2, 32, 48]"
    assert "float32 -> bfloat16" in line and "0.006 MB" in line
    assert "running average, mean of steps [4, 6]" in summary
    assert f"{trees.count_parameters(prepared.shapes):,} numbers" in summary
    assert jnp.dtype(prepared.shapes["final_norm/scale"].dtype) == "float32"
