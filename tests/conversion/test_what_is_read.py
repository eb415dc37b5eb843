"""What others write around a network is handled; what is not the network is refused in one line."""

import json
import pickle
import shutil
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from lvm_jax.conversion import foreign
from lvm_jax.conversion.foreign import Geometry
from lvm_jax.model.weights import formats
from lvm_jax.weight_files import torch_files
from tests.conversion import llamas

GEOMETRY = Geometry(num_codes=llamas.NUM_CODES)
GOLDEN = llamas.load("grouped_query")


def open_hf(path, **geometry):
    return foreign.open_source(
        str(path),
        "hf",
        Geometry(num_codes=llamas.NUM_CODES) if not geometry else Geometry(**geometry),
    )


def pieces_of(source):
    """All numbers, in our layout."""
    arrays = {}
    for piece in formats.pieces(source.described.config):
        arrays[piece] = np.zeros(piece.shape, np.float32)
        source.read(piece, arrays[piece])
    return arrays


def assert_same_network(one, other):
    given, wanted = pieces_of(one), pieces_of(other)
    assert given.keys() == wanted.keys()
    for piece, array in wanted.items():
        np.testing.assert_array_equal(given[piece], array, err_msg=piece.name)


@pytest.fixture(scope="module")
def plain(hugging_face):
    return open_hf(hugging_face["grouped_query"])


@pytest.fixture
def folder(tmp_path):
    """Writes a folder with arrays that are not quite the golden's."""

    def write(arrays, **changes):
        shutil.rmtree(tmp_path / "given", ignore_errors=True)
        given = llamas.Golden(GOLDEN.fields, arrays, *[np.zeros(0)] * 4)
        return llamas.write_hugging_face(tmp_path / "given", given, **changes)

    return write


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.module.", "base_model.model.", "language_model."]
)
def test_prefixes_and_rotary_buffers_are_nobodys_business(plain, folder, prefix):
    arrays = {f"{prefix}{name}": array for name, array in GOLDEN.arrays.items()}
    buffer = np.arange(4, dtype=np.float32)
    arrays[f"{prefix}model.layers.0.self_attn.rotary_emb.inv_freq"] = buffer
    arrays[f"{prefix}model.rotary_emb.inv_freq"] = buffer
    assert_same_network(open_hf(folder(arrays)), plain)


def test_buffers_of_a_module_that_was_pickled_whole_are_left_out(plain, folder):
    """Its parts are entries of entries, and keep buffers that no state dict has."""
    arrays = {name.replace(".", "/"): array for name, array in GOLDEN.arrays.items()}
    for buffer in ("inv_freq", "original_inv_freq"):
        arrays[f"model/rotary_emb/{buffer}"] = np.arange(4, dtype=np.float32)
    assert_same_network(open_hf(folder(arrays)), plain)


def test_another_part_of_a_larger_model_is_left_out(plain, folder):
    arrays = {f"language_model.{name}": array for name, array in GOLDEN.arrays.items()}
    arrays["vision_tower.embeddings.weight"] = np.zeros((3, 3), np.float32)
    assert_same_network(open_hf(folder(arrays)), plain)


@pytest.mark.parametrize("with_head", [False, True])
def test_a_tied_head_is_the_embedding(plain, folder, with_head):
    arrays = {
        name: array
        for name, array in GOLDEN.arrays.items()
        if with_head or name != "lm_head.weight"
    }
    tied = pieces_of(open_hf(folder(arrays, tie_word_embeddings=True)))
    table = GOLDEN.arrays["model.embed_tokens.weight"]
    (head,) = (array for piece, array in tied.items() if piece.name == formats.HEAD)
    np.testing.assert_array_equal(head[:, : len(table)], table.T)
    # The body of such a model is often kept alone.
    bare = {
        name.removeprefix("model."): array
        for name, array in GOLDEN.arrays.items()
        if name != "lm_head.weight"
    }
    given = pieces_of(open_hf(folder(bare, tie_word_embeddings=True)))
    assert all(np.array_equal(given[piece], array) for piece, array in tied.items())


def test_torch_files_with_wrappers_and_shards(plain, tmp_path):
    """Two .bin files with their index, and one with everything under an entry."""
    config = json.dumps({"model_type": "llama", **GOLDEN.fields})
    (tmp_path / "config.json").write_text(config)
    names = list(GOLDEN.arrays)
    shards = {"pytorch_model-00001-of-00002.bin": names[:9]}
    shards["pytorch_model-00002-of-00002.bin"] = names[9:]
    for file, some in shards.items():
        torch_files.write_zip(tmp_path / file, {name: GOLDEN.arrays[name] for name in some})
    index = {"weight_map": {name: file for file, some in shards.items() for name in some}}
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(json.dumps(index))
    assert_same_network(open_hf(tmp_path), plain)
    assert_same_network(open_hf(path), plain)
    path.unlink()  # the names of the files say enough
    assert_same_network(open_hf(tmp_path), plain)
    absent = tmp_path / "pytorch_model-00002-of-00002.bin"
    absent.unlink()
    with pytest.raises(ValueError, match=r"lacks 1 shards: pytorch_model-00002-of-00002.bin"):
        open_hf(tmp_path)
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="names 1 files that are not there: pytorch_model-00002"):
        open_hf(tmp_path)


def test_a_pickle_that_would_run_code_runs_none(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    (tmp_path / "config.json").write_text(json.dumps(GOLDEN.fields))
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model.norm.weight": Evil()}))
    with pytest.raises(ValueError, match=r"pytorch_model.bin.*holds no arrays"):
        open_hf(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop("model.norm.weight"), "model.norm.weight is missing"),
        (lambda a: a.pop("lm_head.weight"), "lm_head.weight is missing; if the embedding is its"),
        (
            lambda a: a.update({"model.layers.2.input_layernorm.weight": np.ones(32, np.float32)}),
            "model.layers.2.input_layernorm.weight is unexpected",
        ),
        (
            lambda a: a.update({"model.layers.0.self_attn.q_proj.bias": np.ones(32, np.float32)}),
            "model.layers.0.self_attn.q_proj.bias is unexpected",
        ),
        (
            lambda a: a.update({"model.layers.1.mlp.up_proj.weight": np.ones((32, 56), "f4")}),
            r"up_proj.weight has shape \(32, 56\), not \(56, 32\)",
        ),
        (
            lambda a: a.update({"model.norm.weight": np.ones(32, np.int8)}),
            "model.norm.weight is int8, not one of float32",
        ),
        (
            lambda a: a.update({"x.lora_A.weight": np.ones((2, 2), np.float32)}),
            "adapters",
        ),
        (lambda a: a.clear() or a.update(x=np.ones(3, "f4")), "has no name of from=hf; it holds x"),
        (
            lambda a: a.update(
                {n: a[n][:50] for n in ("model.embed_tokens.weight", "lm_head.weight")}
            ),
            "has 50 rows, fewer than the 61 codes",
        ),
    ],
)
def test_what_is_not_the_network_is_refused(folder, change, said):
    arrays = dict(GOLDEN.arrays)
    change(arrays)
    with pytest.raises(ValueError, match=said) as error:
        open_hf(folder(arrays))
    assert "\n" not in str(error.value)


def test_an_entry_is_chosen_and_averages_are_preferred(plain, tmp_path):
    """At the top are other numbers than under ema; an optimizer's are never taken."""
    arrays = {f"ema.{name}": array for name, array in GOLDEN.arrays.items()}
    arrays |= {name: array + 1 for name, array in GOLDEN.arrays.items()}
    arrays |= {f"exp_avg.{name}": array + 2 for name, array in GOLDEN.arrays.items()}
    file = tmp_path / "all.safetensors"
    safetensors.numpy.save_file(arrays, str(file))
    said = {"source_config": GOLDEN.fields, "num_codes": llamas.NUM_CODES}
    assert_same_network(open_hf(file, **said), plain)
    chosen = pieces_of(open_hf(file, **said, entry="/"))
    assert open_hf(file, **said, dtype="float16").described.config.dtype == "bfloat16"
    for piece, array in pieces_of(plain).items():
        if piece.name.startswith(formats.LAYERS):
            np.testing.assert_array_equal(chosen[piece], array + 1)


@pytest.mark.parametrize("rows", [67, 64, 66, 72, 128, 80])
def test_tables_are_padded_or_not_and_have_any_number_of_special_ids(folder, rows):
    """61 codes; the config says 67 ids. 72, 80 and 128 rows are these, padded."""
    arrays = dict(GOLDEN.arrays)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        arrays[name] = np.resize(arrays[name], (rows, 32))
    source = open_hf(folder(arrays))
    vocabulary = source.described.config.vocabulary
    assert vocabulary.num_codes == 61
    assert vocabulary.size == (67 if rows in (72, 80, 128) else rows)
    for piece, array in pieces_of(source).items():
        if piece.name == formats.EMBEDDING:
            np.testing.assert_array_equal(array[:64], arrays["model.embed_tokens.weight"][:64])
            assert not array[vocabulary.size :].any()


def test_numbers_that_are_not_finite_or_do_not_fit_are_refused(folder):
    arrays = dict(GOLDEN.arrays)
    arrays["model.norm.weight"] = np.full(32, 1e5, np.float32)
    source = open_hf(folder(arrays))
    piece = next(p for p in formats.pieces(source.described.config) if p.name == "final_norm/scale")
    with pytest.raises(ValueError, match=r"model.norm.weight does not fit float16; .*bfloat16"):
        source.read(piece, np.zeros(32, np.float16))
    source.read(piece, np.zeros(32, ml_dtypes.bfloat16))
    arrays["model.norm.weight"] = np.full(32, np.nan, np.float32)
    with pytest.raises(ValueError, match=r"given: model.norm.weight holds values .* not finite"):
        open_hf(folder(arrays)).read(piece, np.zeros(32, np.float32))


def test_easylm_needs_sizes_and_says_what_gives_them(tmp_path):
    file = llamas.write_stream(tmp_path / "streaming_params", llamas.as_easylm(GOLDEN))
    with pytest.raises(ValueError, match=r"an EasyLM file has no config.*preset=NAME.*lvm_7b"):
        foreign.open_source(str(file), "easylm", Geometry())
    with pytest.raises(ValueError, match="preset='8b' is unknown"):
        foreign.open_source(str(file), "easylm", Geometry(preset="8b"))
    with pytest.raises(ValueError, match="not both"):
        foreign.open_source(str(file), "easylm", Geometry(preset="1b", source_config={}))
    with pytest.raises(ValueError, match="has 67 rows, fewer than the 8192 codes"):
        foreign.open_source(str(file), "easylm", Geometry(preset="lvm_7b"))
    with pytest.raises(ValueError, match="unknown field num_hiden_layers; did you mean num_hid"):
        fields = {"num_hiden_layers": 2}
        foreign.open_source(str(file), "easylm", Geometry(source_config=fields))


def test_a_preset_has_no_bos_and_eos(tmp_path):
    from lvm_jax.model.transformer_config import PRESETS

    config = PRESETS["debug"]
    rng = np.random.default_rng(0)
    leaves = {}
    for piece in formats.pieces(config):
        way = tuple(formats.name_of("easylm", piece).split("/"))
        leaves[way] = rng.standard_normal(formats.shape_of("easylm", piece, 64)).astype("f4")
    file = llamas.write_stream(tmp_path / "streaming_params", leaves)
    (tmp_path / "streaming_params.json").write_text("{}")  # as our own exports have it
    source = foreign.open_source(str(tmp_path), "easylm", Geometry(preset="debug"))
    assert source.described.framing.bos is False and source.described.framing.eos is False
    assert source.described.config == config
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r"streaming_params is damaged.*copy it again"):
        foreign.open_source(str(tmp_path), "easylm", Geometry(preset="debug"))
