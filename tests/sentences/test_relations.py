"""A relation is one record: from it come a kind of sentence, its config keys, checks and pixels."""

import dataclasses
import pickle

import numpy as np
import pytest

from lvm_jax import configs, images
from lvm_jax.pictures.derivations import derivation
from lvm_jax.sentences import corpora, kinds, sources
from lvm_jax.sentences.relations import Derived, draw_seed
from lvm_jax.sentences.restoration import draw_between, require_range
from tests.toys import pixels_of


@derivation
def fade(image, *, share, seed, light):
    """Mixes a picture with a flat one."""
    assert seed >= 0
    return np.rint(image * share + light * (1 - share)).astype(np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fading(Derived):
    """faded, full, ...

    Attributes:
        same_strength: one share for a whole sentence.
        share: of the picture in the mixture.
        light: of the flat one, in 0..255.
    """

    name = "fading"
    function = staticmethod(fade)

    same_strength: bool = False
    share: tuple[float, float] = (0.25, 0.75)
    light: int = 255

    def __post_init__(self):
        require_range(self, "share", high=1)
        configs.require_at_least(self, 0, "light")

    def strength(self, draws):
        return (("share", draw_between(draws, self.share)),)

    def others(self, draws):
        return draw_seed(draws), ("light", self.light)


@pytest.fixture
def fading(monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))
    monkeypatch.setattr(corpora, "KINDS", kinds.KINDS)
    kinds.add_relation(Fading)
    yield
    del kinds.FadingSource


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        images.write_image(tmp_path / f"{number}.png", np.full((8, 8, 3), 50 * number, np.uint8))
    return str(tmp_path)


def build(folder, **values):
    source = {"kind": "fading", "folder": folder, "pairs_per_sentence": 2, **values}
    return corpora.build_corpus({"sources": {"mine": source}})


def test_one_record_is_a_kind_of_sentence(fading, folder):
    source = build(folder, light=200).sources[0]
    sentence = source.sentence(0, 0, 0)
    assert (sentence.kind, sentence.source, len(sentence.images)) == ("fading", "mine", 4)
    faded, full = sentence.images[:2]
    assert faded.key.startswith(f"{full.path}|center||fade(share=0.")
    parameters = dict(faded.parameters)
    assert 0.25 <= parameters["share"] <= 0.75 and parameters["light"] == 200
    expected = fade(pixels_of(full, 8), **parameters)
    np.testing.assert_array_equal(pixels_of(faded, 8), expected)
    shares = [ref.parameters[0] for ref in sentence.images[::2]]
    assert shares[0] != shares[1]
    same = build(folder, same_strength=True).sources[0].sentence(0, 0, 0)
    assert same.images[0].parameters[0] == same.images[2].parameters[0]


def test_its_fields_are_keys_of_the_config(fading, folder):
    corpus = build(folder)
    values = configs.to_dict(corpus)["sources"][0]
    assert list(values)[-5:] == [
        *("pairs_per_sentence", "same_picture"),
        *("same_strength", "share", "light"),
    ]
    assert values["share"] == [0.25, 0.75]
    assert corpora.build_corpus(configs.to_dict(corpus)) == corpus
    about = kinds.KINDS["fading"].__doc__
    assert (
        about.startswith("faded, full, ...\n\nAttributes:\n") and "pairs_per_sentence: 8" in about
    )


@pytest.mark.parametrize(
    "values,message",
    [
        ({"share": [0.5, 1.5]}, r"corpus\.sources\.mine\.share=\(0\.5, 1\.5\) must be"),
        ({"light": -1}, r"corpus\.sources\.mine\.light=-1 must not be negative"),
        ({"light": 0.5}, r"mine\.light=0\.5 must be of type int"),
        ({"shar": 1}, r"unknown key .*mine\.shar=1; did you mean .*mine\.share"),
    ],
)
def test_its_checks_name_the_key(fading, folder, values, message):
    with pytest.raises(configs.ConfigError, match=message):
        build(folder, **values)


def test_names_are_taken_once(fading):
    with pytest.raises(ValueError, match="there is a kind of sentence called fading"):
        kinds.add_relation(Fading)

    def blur(image):
        return image

    with pytest.raises(ValueError, match="two functions are called blur"):
        derivation(blur)


def test_every_kind_says_what_its_fields_are():
    common = sources.Source.__doc__
    for kind, source in kinds.KINDS.items():
        about = source.__doc__ + common
        for field in dataclasses.fields(source):
            assert f"    {field.name}: " in about, (kind, field.name)


def test_sources_go_to_other_processes(fading, folder):
    source = build(folder, light=3).sources[0]
    again = pickle.loads(pickle.dumps(source))
    assert again == source and again.sentence(1, 2, 3) == source.sentence(1, 2, 3)
