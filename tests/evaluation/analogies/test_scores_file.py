"""What no scores can be read from is named; that they come back is a test of the whole job."""

import pytest

from lvm_jax.evaluation.analogies import scores_file


@pytest.mark.parametrize("content", ["", "[]", '{"tasks": []}', '{"version": 1, "tasks": []}'])
def test_scores_of_another_kind_are_refused(tmp_path, content):
    (tmp_path / "analogies.json").write_text(content)
    with pytest.raises(ValueError, match=r"analogies\.json"):
        scores_file.read(tmp_path / "analogies.json")
