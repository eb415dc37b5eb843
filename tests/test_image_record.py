"""What is known of how pictures were read, and what is made of it."""

import logging

import pytest
from absl import logging as absl_logging

from lvm_jax import configs, image_record
from lvm_jax.images import ImageConfig

SQUASHED = ImageConfig(resize="squash", background=(0, 0, 9))


@pytest.fixture(autouse=True)
def log(caplog, monkeypatch):
    """The log, in which what is said once was not said yet."""
    monkeypatch.setattr(absl_logging, "_log_counter_per_token", {})
    caplog.set_level(logging.INFO)
    return caplog


def test_a_record_comes_back():
    values = image_record.entry(SQUASHED)
    assert values == {"images": configs.to_dict(SQUASHED)}
    assert image_record.read(values, "here") == SQUASHED
    assert image_record.read({}, "here") is None
    assert image_record.read(image_record.entry(None), "here") is None
    with pytest.raises(ValueError, match=r"run/config\.json: images\.shrink"):
        image_record.read({image_record.KEY: {"shrink": True}}, "run/config.json")


def test_what_is_known_is_followed_without_a_word(log):
    assert image_record.config_for(SQUASHED, "m") == SQUASHED
    assert image_record.config_for(SQUASHED, "m", {"resize": "squash"}) == SQUASHED
    assert log.text == ""


def test_what_is_wanted_otherwise_is_named(log):
    config = image_record.config_for(SQUASHED, "runs/model", {"resize": "crop"})
    assert config == ImageConfig(background=(0, 0, 9))
    (line,) = log.messages
    assert line == (
        "pictures are read with resize=crop, but runs/model learned from pictures read with "
        "resize=squash"
    )


def test_what_is_unknown_is_said_once(log):
    assert [image_record.config_for(None, "old") for _ in range(3)] == [ImageConfig()] * 3
    assert len(log.messages) == 1 and log.text.count("old does not say how") == 1


@pytest.mark.parametrize("changes", [{"resize": "stretch"}, {"background": [0, 0]}, {"side": 3}])
def test_changes_that_mean_nothing_are_refused(changes):
    with pytest.raises(ValueError, match=f"^(unknown key )?{next(iter(changes))}="):
        image_record.config_for(SQUASHED, "m", changes)


def test_sources_agree_or_nothing_is_known(log):
    larger = ImageConfig(max_pixels=2_000_000)
    agreeing = {"one": ImageConfig(max_pixels=1_000_000), "lines": None, "two": larger}
    assert image_record.agreed(agreeing, "mixture") == larger
    assert image_record.agreed({"lines": None}, "mixture") is None
    assert log.text == ""
    assert image_record.agreed({**agreeing, "three": SQUASHED}, "data.mixture") is None
    assert (
        "data.mixture: pictures of one were read with resize=crop, background=(255, 255, "
        "255), those of three with resize=squash, background=(0, 0, 9)"
    ) in log.text
