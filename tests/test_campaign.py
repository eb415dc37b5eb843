"""A short campaign of faults; `python -m tests.campaign` runs longer ones."""

import pytest

from tests.campaign import __main__ as campaign
from tests.campaign.faults import FAULTS


# A tokenizer on two processes, and a transformer on one.
@pytest.mark.parametrize("seed", [0, 9])
def test_a_disturbed_training_ends_as_an_undisturbed_one(seed, tmp_path):
    said: list[str] = []
    assert campaign.campaign(tmp_path, 1, seed, list(FAULTS), said.append) == 0, said
