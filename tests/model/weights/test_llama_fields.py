"""config.json: what it says, what it may not say, and what we say."""

import dataclasses

import pytest

from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.model.weights import llama_fields
from lvm_jax.model.weights.llama_fields import Described
from lvm_jax.vocabulary import Framing, Vocabulary

FIELDS = {
    "model_type": "llama",
    "vocab_size": 8292,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def read(**changes):
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value != "absent"}
    return llama_fields.read(fields, "config.json")


@pytest.mark.parametrize("framing", [Framing(), Framing(bos=False, eos=False), Framing(eos=False)])
@pytest.mark.parametrize("name", ["debug", "lvm_7b", "quickstart"])
def test_what_we_write_we_read(name, framing):
    config = dataclasses.replace(PRESETS[name], rope_table="bfloat16")
    about = {"tokenizer_fingerprint": "abc"}
    described = Described(config=config, framing=framing, about=about)
    for rows in (config.vocabulary.size, config.vocabulary.padded_size):
        given = llama_fields.read(llama_fields.write(described, rows, "float32"), "it")
        # How it is computed is no property of weights.
        same = dataclasses.replace(
            given.config, dtype=config.dtype, remat=config.remat, num_kv_heads=config.num_kv_heads
        )
        assert same == config
        assert (given.framing, dict(given.about)) == (framing, about)


def test_lvms_own_config_has_neither_bos_nor_eos():
    """Its 1 and 2 are LLaMA's defaults, and codes."""
    given = read(bos_token_id=1, eos_token_id=2)
    assert given.framing == Framing(bos=False, eos=False)
    assert given.config.vocabulary == Vocabulary()
    assert read(bos_token_id=8192, eos_token_id=8193).framing == Framing()


@pytest.mark.parametrize(
    ("size", "vocabulary"),
    [
        (8192, Vocabulary(num_special=3)),
        (8194, Vocabulary(num_special=3)),
        (8320, Vocabulary(num_special=128)),
        (100, Vocabulary(num_codes=97, num_special=3)),
    ],
)
def test_ids_that_are_codes(size, vocabulary):
    assert read(vocab_size=size).config.vocabulary == vocabulary


def test_the_same_field_by_other_names():
    assert read(max_sequence_length=512).config.context == 512
    assert (
        read(rope_parameters={"rope_theta": 5e5, "rope_type": "default"}).config.rope_theta == 5e5
    )
    assert read(num_key_value_heads=4).config == read().config
    assert read(num_key_value_heads=2).config.kv_heads == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"sliding_window": 4096},
        {"model_type": "qwen2"},
        {"partial_rotary_factor": 0.5},
        {"quantization_config": {"bits": 4}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
        {"head_dim": 32},
        {"hidden_size": 66},
        {"hidden_size": "absent"},
        {"num_hidden_layers": "two"},
        {"num_key_value_heads": 3},
        {"rope_theta": True},
        {"vocab_size": 3},
        {"vocab_size": 70000},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_our_network_is_not_is_refused_by_name(changes):
    (name,) = changes
    ours = {"num_key_value_heads": "num_kv_heads", "hidden_size": "hidden"}.get(name, name)
    with pytest.raises(ValueError, match=f"config.json.*{ours}"):
        read(**changes)


@pytest.mark.parametrize("changes", [{"sliding_window": None, "model_type": "mistral"}, {}])
def test_what_changes_nothing_is_taken(changes):
    assert read(attention_bias=False, rope_scaling=None, **changes).config.num_layers == 2
