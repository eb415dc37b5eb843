"""Strict configs: unknown keys, wrong types and missing values are named."""

import dataclasses
import functools
import pickle
from typing import Literal

import pytest

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 4
    scale: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = Inner()
    sizes: tuple[int, ...] = ()
    tall: Inner = Inner(width=40, scale=3.0)
    parts: tuple[Inner, ...] = ()
    mode: Literal["a", "b"] = "a"
    limit: int | None = None


def test_builds_nested_dataclasses_and_gives_them_back():
    values = {
        "name": "x",
        "inner": {"width": 8, "scale": 2},
        "sizes": [1, 2],
        "parts": [{"width": 1}],
        "limit": None,
    }
    config = configs.build(Outer, values)
    assert config == Outer(
        name="x", inner=Inner(width=8, scale=2.0), sizes=(1, 2), parts=(Inner(width=1),)
    )
    assert configs.build(Outer, configs.to_dict(config)) == config


def test_fields_with_builders():
    presets = {"wide": Inner(width=100)}
    builders = {"inner": functools.partial(configs.with_preset, presets)}
    built = configs.build(Outer, {"name": "x", "inner": {"preset": "wide"}}, builders=builders)
    assert built.inner == Inner(width=100)
    with pytest.raises(ValueError, match=r"unknown key outer\.inner\.widht"):
        values = {"name": "x", "inner": {"preset": "wide", "widht": 1}}
        configs.build(Outer, values, "outer", builders)
    # What is no mapping is left to the type.
    assert configs.build(Outer, {"name": "x", "inner": Inner()}, builders=builders).inner == Inner()
    with pytest.raises(ValueError, match=r"config\.inner=3 must be a mapping"):
        configs.build(Outer, {"name": "x", "inner": 3}, builders=builders)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    name: str = ""
    inner: Inner = Inner()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outermost:
    outer: Outer = Outer(name="default", inner=Inner(width=9))
    parts: tuple[Named, ...] = ()


def test_a_section_replaces_the_keys_that_it_names_at_any_depth():
    # Of a default that differs from its class's ...
    assert configs.build(Outer, {"name": "x", "tall": {"scale": 1}}).tall == Inner(width=40)
    # ... of a section inside such a default ...
    built = configs.build(Outermost, {"outer": {"inner": {"scale": 2}}})
    assert built.outer == Outer(name="default", inner=Inner(width=9, scale=2.0))
    # ... and of a preset.
    presets = {"wide": Outer(name="wide", inner=Inner(width=100, scale=7.0))}
    built = configs.with_preset(presets, {"preset": "wide", "inner": {"scale": 2}}, "m")
    assert built == Outer(name="wide", inner=Inner(width=100, scale=2.0))
    with pytest.raises(ValueError, match=r"unknown key m\.inner\.widht=1"):
        configs.with_preset(presets, {"preset": "wide", "inner": {"widht": 1}}, "m")


def test_items_of_a_list_are_called_by_their_names():
    for name, called in (("photos", r"config\.parts\.photos"), ("", r"config\.parts\[1\]")):
        parts = [{"name": "first"}, {"name": name, "inner": {"widht": 1}}]
        with pytest.raises(ValueError, match=rf"unknown key {called}\.inner\.widht=1"):
            configs.build(Outermost, {"parts": parts})


@pytest.mark.parametrize(
    "values, message",
    [
        ({"name": "x", "nmae": 1}, r"unknown key config\.nmae=1; did you mean config\.name\?"),
        ({"name": "x", "inner": {"widht": 1}}, r"config\.inner\.widht=1.*config\.inner\.width"),
        ({}, r"config\.name is not set"),
        ({"name": 3}, r"config\.name=3 must be of type str"),
        ({"name": "x", "inner": 3}, r"config\.inner=3 must be a mapping"),
        ({"name": "x", "sizes": "12"}, r"config\.sizes='12' must be a list, such as \['12'\]"),
        ({"name": "x", "sizes": [1.5]}, r"config\.sizes\[0\]=1\.5"),
        ({"name": "x", "mode": "c"}, r"config\.mode='c' must be one of 'a', 'b'"),
        ({"name": "x", "limit": "many"}, r"config\.limit='many' must be of type int"),
        ({"name": "x", "inner": {"width": True}}, r"config\.inner\.width=True"),
    ],
)
def test_errors_name_the_key_and_the_value(values, message):
    with pytest.raises(ValueError, match=message):
        configs.build(Outer, values)
    alone = message.replace(r"config\.", "")
    with pytest.raises(ValueError, match=alone):
        configs.build(Outer, values, "")


@pytest.mark.parametrize("values", [5, "x", None, [1], [("name", "x")]])
def test_a_section_that_is_no_mapping_is_named(values):
    with pytest.raises(ValueError, match=r"config\.shards=.* must be a mapping of Outer's fields"):
        configs.build(Outer, values, "config.shards")
    with pytest.raises(ValueError, match=r"config\.model=.* must be a mapping of Inner's fields"):
        configs.with_preset({"wide": Inner()}, values, "config.model")


def test_presets_take_overrides_and_refuse_unknown_names():
    presets = {"small": Inner(width=2), "large": Inner(width=16)}
    assert configs.with_preset(presets, {"preset": "large", "scale": 3}, "m") == Inner(
        width=16, scale=3.0
    )
    with pytest.raises(ValueError, match=r"m\.preset='huge' is unknown; use one of small, large"):
        configs.with_preset(presets, {"preset": "huge"}, "m")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    inner: Inner = Inner()
    count: int = 1
    most: float | None = None

    def __post_init__(self):
        configs.require_at_least(self, 1, "count")
        configs.require_at_least(self, 0, "most")
        if self.inner.width < self.count:
            raise ConfigError(
                *(Field("inner.width"), f"={self.inner.width} is less than "),
                *(Field("count"), f"={self.count}"),
            )


def test_an_error_names_fields_as_whoever_catches_it_knows_them():
    with pytest.raises(ConfigError, match=r"^inner\.width=4 is less than count=9$") as direct:
        Sizes(count=9)
    assert direct.value.spelled(str.upper) == "INNER.WIDTH=4 is less than COUNT=9"
    with pytest.raises(ConfigError) as built, configs.within("job"):
        configs.build(Sizes, {"count": 9}, "config.sizes")
    text = "job.config.sizes.inner.width=4 is less than job.config.sizes.count=9"
    assert str(built.value) == text
    assert str(pickle.loads(pickle.dumps(built.value))) == text
    with pytest.raises(ConfigError, match=r"^unknown key (.*); did you mean (.*)\?$") as typo:
        configs.build(Sizes, {"cuont": 9}, "config")
    assert typo.value.spelled("<{}>".format).count("<config.") == 2


@pytest.mark.parametrize("bad", [0, -1, float("nan")])
def test_numbers_that_are_too_small(bad):
    with pytest.raises(ConfigError, match=f"^count={bad} must be at least 1$"):
        Sizes(count=bad)


def test_nothing_is_no_small_number():
    assert Sizes(most=None).most is None
    with pytest.raises(ConfigError, match=r"most=-1 must not be negative"):
        Sizes(most=-1)


def test_a_holder_may_keep_some_of_what_is_named_elsewhere():
    with pytest.raises(ConfigError) as error, configs.within("data", rows="batch_size", part="all"):
        raise ConfigError(Field("count"), "=1 ", Field("rows"), "=2 ", Field("part.keys"), "=3")
    assert str(error.value) == "data.count=1 batch_size=2 all.keys=3"


def test_a_config_in_a_file_is_mended_by_no_flag():
    with pytest.raises(
        ValueError, match=r"^unknown key run/config\.json: inner\.widht=1; "
    ) as error:
        configs.build_stored(Inner, {"widht": 1}, "run/config.json: inner")
    assert not isinstance(error.value, ConfigError)
