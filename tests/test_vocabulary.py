"""The id space: LVM's numbers, and properties for any size."""

import pytest

from lvm_jax.vocabulary import Vocabulary


def test_defaults_are_those_of_lvm():
    vocabulary = Vocabulary()
    assert (vocabulary.bos, vocabulary.eos, vocabulary.pad) == (8192, 8193, 8194)
    assert vocabulary.size == 8292
    assert vocabulary.padded_size == 8320


@pytest.mark.parametrize("num_codes", [2, 127, 128, 1000, 16384])
@pytest.mark.parametrize("pad_multiple", [1, 8, 128])
def test_special_ids_follow_the_codes_and_fit_the_padded_size(num_codes, pad_multiple):
    vocabulary = Vocabulary(num_codes=num_codes, num_special=3, pad_multiple=pad_multiple)
    special = [vocabulary.bos, vocabulary.eos, vocabulary.pad]
    assert special == list(range(num_codes, num_codes + 3))
    assert vocabulary.size <= vocabulary.padded_size < vocabulary.size + pad_multiple
    assert vocabulary.padded_size % pad_multiple == 0


@pytest.mark.parametrize(
    "values, message",
    [
        ({"num_codes": 1}, "num_codes=1"),
        ({"num_special": 2}, "num_special=2"),
        ({"pad_multiple": 0}, "pad_multiple=0"),
        ({"num_codes": 65500}, "uint16"),
    ],
)
def test_refuses_what_cannot_work(values, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**values)
