"""Pairs of files, and the prompts that are made of them."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.evaluation.tasks import pair_folders, registry
from lvm_jax.evaluation.tasks.pair_folders import PairExamples
from lvm_jax.evaluation.tasks.prompt_lists import ListedExamples, ListedPrompt
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader

LOADER = SquareLoader(ImageConfig(), 8)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Five pairs: the target is the negative of the input."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        images.write_image(root / "inputs" / f"{number}.png", pixels)
        images.write_image(root / "targets" / f"{number}.png", 255 - pixels)
    return root


def examples(pairs, **changes):
    found = pair_folders.find(str(pairs))
    more = {"name": "negative", "pairs": found, "support": found, "num_pairs": 3, "loader": LOADER}
    return PairExamples(**more | changes)


def test_both_layouts_hold_the_same_pairs(pairs, tmp_path):
    for role in ("input", "target"):
        for path in (pairs / f"{role}s").iterdir():
            shutil.copy(path, tmp_path / f"{path.stem}_{role}.png")
    assert list(pair_folders.find(str(tmp_path))) == list(pair_folders.find(str(pairs)))


def test_every_pair_is_asked_once_after_others(pairs):
    asked = examples(pairs)
    chosen = [asked.chosen(3, index) for index in range(5)]
    assert sorted(names[-1] for names in chosen) == list("01234")
    assert all(len(set(names)) == 4 for names in chosen)
    assert chosen != [asked.chosen(4, index) for index in range(5)]
    example = asked.example(3, 1)
    assert example.keys == chosen[1]
    for before, after in [*example.pairs, (example.query, example.answer)]:
        np.testing.assert_array_equal(before, 255 - after)


def test_fewer_shots_are_the_last_ones_and_none_is_a_query(pairs):
    assert examples(pairs, num_pairs=0).example(0, 0).pairs.shape == (0, 2, 8, 8, 3)
    with pytest.raises(ValueError, match="shots=5 takes 6 pairs, but there are 5"):
        examples(pairs, num_pairs=5)


def test_what_is_no_pair_is_named(pairs, tmp_path):
    shutil.copytree(pairs, tmp_path / "a")
    (tmp_path / "a" / "targets" / "3.png").unlink()
    with pytest.raises(ValueError, match=r"inputs: 3 without a counterpart in .*targets"):
        pair_folders.find(str(tmp_path / "a"))
    with pytest.raises(ValueError, match="holds no pairs: it takes folders inputs and targets"):
        pair_folders.find(str(tmp_path / "a" / "inputs"))


def test_prompts_of_a_list(pairs):
    paths = [str(p) for number in range(3) for p in pair_folders.find(str(pairs))[str(number)]]
    listed = [ListedPrompt(images=tuple(paths[:5]), answer=paths[5], where="list line 1")]
    example = ListedExamples(name="own", prompts=listed, loader=LOADER).example(9, 4)
    assert example.pairs.shape == (2, 2, 8, 8, 3)
    # Wherever the folder of them all lies.
    assert example.keys == tuple(str(pathlib.Path(path).relative_to(pairs)) for path in paths)
    with pytest.raises(ValueError, match=r"list line 2: .* an odd number"):
        ListedPrompt(images=tuple(paths[:2]), answer=paths[2], where="list line 2")
    other = ListedPrompt(images=tuple(paths[:3]), answer=paths[3], where="list line 2")
    with pytest.raises(ValueError, match="line 2 has 3 images and list line 1 5"):
        ListedExamples(name="own", prompts=[*listed, other], loader=LOADER)


def test_every_kind_of_task_can_be_built_and_measures_what_it_names(pairs):
    asked = examples(pairs)
    for name, kind in registry.KINDS.items():
        assert name == kind.name and kind.about
    task = registry.build("pixels", asked, {})
    example = task.example(0, 0)
    assert task.measure(example.answer, example).values == {"mse": 0.0}
    assert set(task.measure(example.query, example).values) == {m.name for m in task.metrics}
    assert json.dumps(task.measure(example.query, example).values)
    with pytest.raises(ValueError, match="task='colour' is no task; use one of"):
        registry.build("colour", asked, {})
