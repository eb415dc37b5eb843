"""A converted network is the network: its logits, its greedy words, its bytes on the way back."""

import json

import jax
import numpy as np
import pytest

import lvm_jax
from lvm_jax.model.weights.llama_fields import OWN
from lvm_jax.weight_files import reader
from tests.conversion import llamas


def arrays_of(path):
    return {name: stored.load() for name, stored in reader.read(path)[0].items()}


def assert_same_bytes(given, wanted):
    assert given.keys() == wanted.keys()
    for name, array in wanted.items():
        assert given[name].dtype == array.dtype, name
        assert given[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("kind", llamas.KINDS)
def test_logits_are_those_of_transformers(own, kind):
    golden = llamas.load(kind)
    model = lvm_jax.load_model(own[kind])
    np.testing.assert_allclose(model.logits(golden.ids), golden.logits, atol=1e-4, rtol=0)
    assert (model.framing.bos, model.framing.eos) == (False, False)  # ids 1 and 2 are codes


@pytest.mark.parametrize("kind", llamas.KINDS)
def test_greedy_words_are_those_of_transformers(own, kind):
    """256 ids; the goldens' closest two logits are further apart than rounding moves one."""
    golden = llamas.load(kind)
    model = lvm_jax.load_model(own[kind])
    ids = np.zeros((1, len(golden.prompt) + 256), np.int32)
    ids[0, : len(golden.prompt)] = golden.prompt
    for place in range(len(golden.prompt), ids.shape[1]):
        logits = np.asarray(model.logits(ids))[0, place - 1, : llamas.NUM_CODES]
        ids[0, place] = logits.argmax()
    assert ids[0, len(golden.prompt) :].tolist() == golden.greedy.tolist()


@pytest.mark.parametrize("kind", llamas.KINDS)
def test_hugging_face_there_and_back_is_exact(own, hugging_face, convert, kind, tmp_path):
    convert(own[kind], "lvm_jax", "hf", tmp_path / "hf", shard_gigabytes=4e-5)
    assert len(list(tmp_path.glob("hf/*.safetensors"))) > 1
    assert_same_bytes(arrays_of(tmp_path / "hf"), arrays_of(hugging_face[kind]))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("multi_head", "float32"), ("grouped_query", "bfloat16"), ("grouped_query", "float16")],
)
def test_easylm_there_and_back_is_exact(convert, kind, dtype, tmp_path):
    golden = llamas.load(kind)
    arrays = {way: array.astype(dtype) for way, array in llamas.as_easylm(golden).items()}
    given = llamas.write_stream(tmp_path / "streaming_params", arrays)
    sizes = json.dumps({**golden.fields, "eos_token_id": None})
    ours = convert(
        *(given, "easylm", "lvm_jax", tmp_path / "ours"),
        source_config=sizes,
        num_codes=llamas.NUM_CODES,
    )
    back = convert(ours, "lvm_jax", "easylm", tmp_path / "back")
    assert back.read_bytes() == given.read_bytes()


@pytest.mark.parametrize("kind", llamas.KINDS)
def test_an_easylm_file_by_its_description_is_the_same_network(own, convert, kind, tmp_path):
    """A training's state, larger arrays in chunks, beside an optimizer and things of no shape."""
    golden = llamas.load(kind)
    params = {("params", "params", *way): leaf for way, leaf in llamas.as_easylm(golden).items()}
    moments = {("opt_state", "0", "mu", *way[1:]): leaf * 0 for way, leaf in params.items()}
    state = {("step",): 7, **moments, ("opt_state", "1", "count"): np.array(3, np.int32), **params}
    llamas.write_stream(tmp_path / "streaming_train_state", state, most_bytes=2000)
    ours = convert(
        *(tmp_path / "streaming_train_state", "easylm", "lvm_jax", tmp_path / "ours"),
        source_config=json.dumps(golden.fields),
        num_codes=llamas.NUM_CODES,
    )
    same = lambda one, other: np.testing.assert_array_equal(one, other)
    jax.tree.map(same, lvm_jax.load_model(ours).params, lvm_jax.load_model(own[kind]).params)


def test_what_is_exported_loads_in_transformers_and_says_the_same(own, convert, tmp_path):
    """Here what the goldens' network was; where there is transformers, the program itself."""
    golden = llamas.load("grouped_query")
    folder = convert(own["grouped_query"], "lvm_jax", "hf", tmp_path / "hf")
    fields = json.loads((folder / "config.json").read_text())
    same = [name for name in golden.fields if not name.endswith("token_id")]
    assert {name: fields[name] for name in same} == {name: golden.fields[name] for name in same}
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    with torch.no_grad():
        given = model.generate(torch.tensor(golden.prompt[None]), max_new_tokens=256)
    assert given[0, len(golden.prompt) :].tolist() == golden.greedy.tolist()


def test_no_code_ends_what_an_export_generates(own, convert, tmp_path):
    folder = convert(own["multi_head"], "lvm_jax", "hf", tmp_path / "hf")
    for name in ("config.json", "generation_config.json"):
        said = json.loads((folder / name).read_text())
        assert said["bos_token_id"] is None and said["eos_token_id"] is None
        assert said["pad_token_id"] >= llamas.NUM_CODES
    assert said["suppress_tokens"] == list(range(llamas.NUM_CODES, 67))
    assert json.loads((folder / "config.json").read_text())[OWN]["vocabulary"]["num_codes"] == 61
