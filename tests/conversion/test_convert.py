"""tools/convert_model.py: what is written, from what, and where."""

import json
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import convert_model
import lvm_jax
from lvm_jax import trees
from lvm_jax.conversion import job, places
from lvm_jax.conversion.sources import OwnSource
from lvm_jax.weight_files import reader, stretches
from tests.conversion import llamas

HALF = np.dtype(ml_dtypes.bfloat16)


def arrays_of(path):
    return {name: stored.load() for name, stored in reader.read(path)[0].items()}


@pytest.mark.parametrize("to", ["hf", "easylm", "lvm_jax"])
def test_another_type_is_rounded_once(own, convert, to, tmp_path):
    out = convert(own["multi_head"], "lvm_jax", to, tmp_path / "out", dtype="bfloat16")
    if to == "lvm_jax":
        given = trees.flatten(lvm_jax.load_model(out).params)
        wanted = trees.flatten(lvm_jax.load_model(own["multi_head"]).params)
    elif to == "hf":
        given, wanted = arrays_of(out), llamas.load("multi_head").arrays
        assert {array.dtype for array in given.values()} == {HALF}
        assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    else:
        given = arrays_of(out)
        easylm = llamas.as_easylm(llamas.load("multi_head"))
        wanted = {"/".join(way): array for way, array in easylm.items()}
        assert json.loads((tmp_path / "out.json").read_text())["hidden_size"] == 32
    assert given.keys() == wanted.keys()
    for name, array in wanted.items():
        wanted_bits = np.asarray(array).astype(HALF).astype(np.float32)
        np.testing.assert_array_equal(np.asarray(given[name]).astype(np.float32), wanted_bits)


def test_the_mean_of_several(hugging_face, convert, tmp_path):
    """In float32, whatever they are kept in."""
    golden = llamas.load("multi_head")
    shifted = {name: (array + 1).astype(HALF) for name, array in golden.arrays.items()}
    other = llamas.Golden(golden.fields, shifted, *[golden.ids] * 4)
    llamas.write_hugging_face(tmp_path / "other", other)
    flags = {"num_codes": llamas.NUM_CODES, "average": (str(tmp_path / "other"),)}
    out = convert(hugging_face["multi_head"], "hf", "hf", tmp_path / "mean", **flags)
    for name, array in arrays_of(out).items():
        mean = (golden.arrays[name] + shifted[name].astype(np.float32)) / 2
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, mean, rtol=1e-6)
    with pytest.raises(ValueError, match=r"cannot be averaged with .*kv_heads is 2, not 4"):
        flags["average"] = (str(hugging_face["grouped_query"]),)
        convert(hugging_face["multi_head"], "hf", "hf", tmp_path / "no", **flags)


def test_a_training_and_its_average(trained, states, convert, tmp_path):
    """A step, its running average and the mean of steps; with what the run knew of its data."""
    step = convert(trained, "lvm_jax", "lvm_jax", tmp_path / "step", step=4, ema=True)
    given = trees.flatten(lvm_jax.load_model(step).params)
    for name, array in trees.flatten(states[4]["ema"]).items():
        np.testing.assert_array_equal(given[name], array)
    mean = convert(trained, "lvm_jax", "lvm_jax", tmp_path / "mean", step=4, average=("2", "6"))
    given = trees.flatten(lvm_jax.load_model(mean).params)
    several = [trees.flatten(states[number]["params"]) for number in (2, 4, 6)]
    for name in given:
        wanted = sum(np.asarray(flat[name], np.float64) for flat in several) / 3
        np.testing.assert_allclose(given[name], wanted, atol=1e-6)
    kept = json.loads((step / "config.json").read_text())
    run = json.loads((trained / "config.json").read_text())
    same = ("tokenizer_fingerprint", "images")
    # Through another format and back, too.
    hf = convert(step, "lvm_jax", "hf", tmp_path / "hf")
    back = convert(hf, "hf", "lvm_jax", tmp_path / "back")
    again = json.loads((back / "config.json").read_text())
    for config in (kept, again):
        assert {key: config[key] for key in same} == {key: run[key] for key in same}
        assert config["framing"] == {"bos": True, "eos": True}


def test_a_dry_run_prints_the_map_and_writes_nothing(hugging_face, tmp_path, capsys):
    options = convert_model.Options(
        source=str(hugging_face["grouped_query"]),
        source_format="hf",
        to="easylm",
        out=str(tmp_path / "out"),
        num_codes=llamas.NUM_CODES,
        dtype="float16",
        dry_run=True,
    )
    convert_model.main(options)
    lines = capsys.readouterr().out.splitlines()
    assert (
        "model.layers.1.self_attn.k_proj.weight (16, 32) float32 -> "
        "transformer/h/1/attention/wk/kernel (32, 16) float16"
    ) in lines
    assert len(lines) == len(llamas.load("grouped_query").arrays) + 2
    assert "21 arrays, 21,344 parameters" in lines[-2]
    assert "vocabulary 67: 61 codes, 6 special ids" in lines[-1]
    assert not list(tmp_path.iterdir())


def test_a_padded_vocabulary_comes_back(own, convert, tmp_path):
    out = convert(own["multi_head"], "lvm_jax", "hf", tmp_path / "hf", padded_vocabulary=True)
    padded = arrays_of(out)["lm_head.weight"]
    assert padded.shape == (128, 32)
    assert not padded[67:].any()
    back = convert(out, "hf", "hf", tmp_path / "back")
    np.testing.assert_array_equal(arrays_of(back)["lm_head.weight"], padded[:67])


def test_the_table_of_lvms_training_is_a_property_of_the_directory(own, convert, tmp_path):
    out = convert(*(own["multi_head"], "lvm_jax", "hf", tmp_path / "hf"), rope_table="bfloat16")
    back = convert(out, "hf", "lvm_jax", tmp_path / "back")
    assert lvm_jax.load_model(back).config.rope_table == "bfloat16"


def test_nothing_but_another_checkpoint_is_replaced(own, convert, tmp_path):
    source, out = own["multi_head"], tmp_path / "out"
    convert(source, "lvm_jax", "hf", out)
    with pytest.raises(ValueError, match=r"out=.* exists; choose another, or overwrite"):
        convert(source, "lvm_jax", "easylm", out)
    convert(source, "lvm_jax", "lvm_jax", out, overwrite=True)
    assert OwnSource(str(out)).described.config.num_layers == 2
    (out / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"holds thesis.tex; choose a new folder"):
        convert(source, "lvm_jax", "hf", out, overwrite=True)
    with pytest.raises(ValueError, match=r"holds the source"):
        convert(source, "lvm_jax", "hf", source, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_fails_leaves_what_was_there(own, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("old")
    with pytest.raises(RuntimeError, match="stop"), places.appearing(out) as partial:
        partial.mkdir()
        raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "config.json").read_text() == "old"
    source = OwnSource(str(own["multi_head"]))
    with pytest.raises(ValueError, match=r"out=.* needs .* GB and .* has"):
        places.require_free(tmp_path / "new", [source.path], 10**18, overwrite=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source_format": None}, "from is required"),
        ({"out": None}, "out is required"),
        ({"source_format": "lvm_jax", "preset": "7b"}, "from=lvm_jax does not read preset"),
        ({"ema": True}, "from=hf does not read ema"),
        ({"num_codes": 0}, "num_codes=0 must be at least 1"),
        ({"shard_gigabytes": 0.0}, "must be positive"),
    ],
)
def test_flags_that_make_no_sense(changes, said):
    flags = {"source": "a", "source_format": "hf", "to": "hf", "out": "b"}
    with pytest.raises(ValueError, match=said):
        convert_model.Options(**{**flags, **changes})


@pytest.mark.parametrize(("given", "to"), [("hf", "easylm"), ("easylm", "hf"), ("lvm_jax", "hf")])
def test_memory_holds_the_largest_array_once(tmp_path, convert, monkeypatch, given, to):
    """Traced by Python, in which numpy's arrays count; 32 layers are many times the bound."""
    monkeypatch.setattr(stretches, "PART_BYTES", 2**16)
    hidden, inside, layers = 64, 2048, 32
    golden = llamas.load("multi_head")
    fields = {**golden.fields, "intermediate_size": inside, "hidden_size": hidden}
    fields |= {"num_hidden_layers": layers, "vocab_size": 64}
    shape = {"mlp": (inside, hidden), "self_attn": (hidden, hidden)}
    arrays = {"model.norm.weight": np.ones(hidden, np.float32)}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        arrays[name] = np.ones((64, hidden), np.float32)
    for name, array in golden.arrays.items():
        if name.startswith("model.layers.0."):
            kind = name.split(".")[3]
            sizes = shape.get(kind, (hidden,))
            for layer in range(layers):
                numbers = np.full(sizes[::-1] if "down" in name else sizes, layer, array.dtype)
                arrays[name.replace(".0.", f".{layer}.", 1)] = numbers
    made = llamas.Golden(fields, arrays, *[golden.ids] * 4)
    source = llamas.write_hugging_face(tmp_path / "source", made)
    flags = {"num_codes": 61}
    if given != "hf":
        source = convert(source, "hf", given, tmp_path / "given", **flags)
    if given == "easylm":
        flags["source_config"] = str(tmp_path / "given.json")
    del arrays, made
    opened = convert_model.open_sources(
        convert_model.Options(
            source=str(source),
            source_format=given,
            to=to,
            out="-",
            **(flags if given != "lvm_jax" else {}),
        ),
        fields if given == "easylm" else None,
    )[0]
    writing = job.Writing(to=to)
    planned = job.plan(opened, writing)
    tracemalloc.start()
    try:
        job.convert(opened, planned, writing, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    largest = 4 * hidden * inside
    assert job.num_bytes(planned) > 90 * largest
    assert peak < 1.5 * largest + 20 * stretches.PART_BYTES
