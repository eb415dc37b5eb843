"""The pair that ships: found by name, loaded, and taken by tools in the place of two flags."""

import numpy as np
import pytest

import generate
import lvm_jax
from lvm_jax import configs, images
from lvm_jax.configs import ConfigError
from lvm_jax.pretrained import places
from model_options import ModelOptions, TokenizerOptions
from tests import toys


@pytest.fixture(scope="module")
def folder(model, tokenizer, tmp_path_factory):
    """Where a pair ships."""
    root = tmp_path_factory.mktemp("ships")
    toys.write_pair(root / "uvd_mini", model, tokenizer)
    return root


@pytest.fixture
def ships(folder, monkeypatch):
    """The directory of the pair, in a package that came with it."""
    monkeypatch.setattr(places, "ROOT", folder)
    return folder / "uvd_mini"


def test_a_pair_is_loaded_by_its_name(ships, model, tokenizer):
    loaded, codes = lvm_jax.load_pretrained("uvd_mini")
    assert codes.fingerprint == tokenizer.fingerprint
    assert configs.to_dict(loaded.config) == configs.to_dict(model.config)
    ids = np.arange(20)[None] % 32
    np.testing.assert_array_equal(loaded.logits(ids), model.logits(ids))


def test_what_does_not_ship_says_what_does(ships):
    with pytest.raises(ValueError, match="'uvd' is no pretrained pair; there is uvd_mini"):
        lvm_jax.load_pretrained("uvd")


def test_a_copy_without_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ROOT", tmp_path)
    missing = (
        r"uvd_mini is not in this copy .*model/config.json is missing; make it with tools/ship"
    )
    with pytest.raises(ValueError, match=missing):
        lvm_jax.load_pretrained("uvd_mini")


def test_a_tool_takes_the_name_for_both_flags(ships, tmp_path):
    """With the same answer."""
    pictures = np.random.default_rng(2).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        images.write_image(tmp_path / f"{number}.png", picture)
    asked = {
        "images": tuple(str(tmp_path / f"{number}.png") for number in range(3)),
        "batch_size": 4,
    }
    separate = {"model": str(ships / "model"), "tokenizer": str(ships / "tokenizer")}
    for out, which in (("one.png", {"pretrained": "uvd_mini"}), ("two.png", separate)):
        generate.one_prompt(generate.OnePrompt(**asked, **which, out=str(tmp_path / out)))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "model is required, or pretrained=uvd_mini, which ships"),
        ({"tokenizer": "t"}, "model is required"),
        ({"model": "m"}, "tokenizer is required"),
        ({"pretrained": "uvd_mini", "model": "m"}, "pretrained=uvd_mini and model=m are both"),
        ({"pretrained": "uvd_mini", "tokenizer": "t"}, "and tokenizer=t are both given; drop one"),
    ],
)
def test_flags_that_are_missing_or_too_many_are_named(ships, given, message):
    with pytest.raises(ConfigError, match=message):
        ModelOptions(**given).pair()


def test_a_model_on_the_ids_that_ship_needs_no_other_tokenizer(ships):
    """Such as one that was fine-tuned from the pair."""
    pair = ModelOptions(model=str(ships / "model")).pair()
    assert pair == places.find("uvd_mini")
    assert ModelOptions(model="m", tokenizer="t").pair() == places.Pair(model="m", tokenizer="t")


def test_a_tool_that_needs_only_a_tokenizer_takes_that_of_the_pair(ships):
    directory = TokenizerOptions(pretrained="uvd_mini").tokenizer_directory()
    assert directory == str(ships / "tokenizer")
    assert TokenizerOptions(tokenizer="t").tokenizer_directory() == "t"
    with pytest.raises(ConfigError, match="tokenizer is required, or pretrained=uvd_mini"):
        TokenizerOptions().tokenizer_directory()
    with pytest.raises(ConfigError, match="tokenizer=t are both given"):
        TokenizerOptions(tokenizer="t", pretrained="uvd_mini").tokenizer_directory()
