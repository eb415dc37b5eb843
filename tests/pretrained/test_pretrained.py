"""The pair that ships: found by name, loaded, and taken by tools in the place of two flags."""

import numpy as np
import pytest

import generate
import lvm_jax
from lvm_jax import configs, images
from lvm_jax.configs import ConfigError
from lvm_jax.demo import examples
from lvm_jax.demo.limits import Limits
from lvm_jax.generation.jobs.prompt_files import Asked, PromptFile
from lvm_jax.pretrained import places
from model_options import ModelOptions, TokenizerOptions
from tests import toys

PICTURES = np.random.default_rng(2).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
PROMPT = PromptFile(
    images=tuple(map(images.encode_png, PICTURES[:3])),
    targets=(images.encode_png(PICTURES[3]),),
    layout="analogy",
    answer=Asked(num_candidates=2),
    title="emoji mask",
    attribution="Somebody",
)


@pytest.fixture(scope="module")
def folder(model, tokenizer, tmp_path_factory):
    """Where a pair ships, with a prompt."""
    root = tmp_path_factory.mktemp("ships")
    toys.write_pair(root / "uvd_mini", model, tokenizer)
    (root / "uvd_mini" / "prompts").mkdir()
    (root / "uvd_mini" / "prompts" / "emoji_mask.json").write_text(PROMPT.text())
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
    for number, picture in enumerate(PICTURES[:3]):
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
    assert pair == places.Pair(model=str(ships / "model"), tokenizer=str(ships / "tokenizer"))
    assert ModelOptions(model="m", tokenizer="t").pair() == places.Pair(model="m", tokenizer="t")


def test_a_tool_that_needs_only_a_tokenizer_takes_that_of_the_pair(ships):
    directory = TokenizerOptions(pretrained="uvd_mini").tokenizer_directory()
    assert directory == str(ships / "tokenizer")
    assert TokenizerOptions(tokenizer="t").tokenizer_directory() == "t"
    with pytest.raises(ConfigError, match="tokenizer is required, or pretrained=uvd_mini"):
        TokenizerOptions().tokenizer_directory()
    with pytest.raises(ConfigError, match="tokenizer=t are both given"):
        TokenizerOptions(tokenizer="t", pretrained="uvd_mini").tokenizer_directory()


def test_a_prompt_is_read_by_its_name_or_from_a_file(ships, tokenizer, tmp_path):
    shown = lvm_jax.load_prompt("emoji_mask", tokenizer)
    np.testing.assert_array_equal(shown.images, PICTURES[:3])
    np.testing.assert_array_equal(shown.targets, PICTURES[3:])
    assert (shown.layout, shown.title, shown.attribution) == ("analogy", "emoji mask", "Somebody")
    (tmp_path / "mine.json").write_text(PROMPT.text())
    mine = lvm_jax.load_prompt(tmp_path / "mine.json", tokenizer)
    np.testing.assert_array_equal(mine.images, shown.images)
    with pytest.raises(ConfigError, match=r"prompt=mask is neither .* ships; there are emoji_mask"):
        lvm_jax.load_prompt("mask", tokenizer)


def test_a_prompt_of_a_copy_without_any(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ROOT", tmp_path)
    with pytest.raises(ConfigError, match="ships; none are in this copy of lvm_jax"):
        places.find_prompt("emoji_mask")


def test_a_first_answer_needs_no_picture(ships, tmp_path):
    """The same as of the file."""
    for name, prompt in (
        ("named", "emoji_mask"),
        ("file", str(ships / "prompts" / "emoji_mask.json")),
    ):
        out = str(tmp_path / f"{name}.png")
        generate.saved_prompt(
            generate.SavedPrompt(pretrained="uvd_mini", prompt=prompt, out=out, batch_size=4)
        )
    assert (tmp_path / "named.png").read_bytes() == (tmp_path / "file.png").read_bytes()


def test_the_page_shows_the_prompts_of_the_pair(ships, tokenizer, model):
    pair = ModelOptions(pretrained="uvd_mini").pair()
    limits = Limits(context=model.config.context, tokens_per_image=16, image_size=16)
    assert examples.find(pair.prompts, pair.model, tokenizer, limits) == [PROMPT]
