"""Perplexity after prompts of several lengths: by hand, and whatever the batch or the devices."""

import dataclasses

import jax
import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.configs import ConfigError
from lvm_jax.evaluation.asking import scoring
from lvm_jax.evaluation.asking.parts import Parts
from lvm_jax.evaluation.asking.results import MODEL
from lvm_jax.evaluation.asking.scoring_config import ScoringConfig
from lvm_jax.evaluation.tasks import sequences
from lvm_jax.evaluation.tasks.sequences import FrameFolders, ListedSequence, ListedSequences
from lvm_jax.images import ImageConfig
from lvm_jax.mesh import AXES
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.vocabulary import Framing

LOADER = SquareLoader(ImageConfig(), 16)
LADDER = ScoringConfig(context_images=(1, 3), bos=("with", "without"), batch_size=2, num_shown=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three folders of twelve frames."""
    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for clip in "abc":
        for number in range(12):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            images.write_image(root / clip / f"frame{number}.png", pixels)
    return root


@pytest.fixture(scope="module")
def frames(clips):
    found = sequences.find_frames(str(clips))
    assert [path.rsplit("/", 1)[1] for path in found["b"]] == [f"frame{i}.png" for i in range(12)]
    return FrameFolders(name="clips", folders=found, num_frames=4, num_targets=1, loader=LOADER)


@pytest.fixture(scope="module")
def evaluated(model, tokenizer, frames):
    return scoring.evaluate(model, tokenizer, frames, LADDER)


def test_rows_are_what_they_say(model, tokenizer, frames, evaluated):
    """The last k frames before the same target, begun with BOS or not."""
    results = {result.name: result for result in evaluated.results}
    assert [r.rung.value for r in evaluated.results] == [1, 3, 1, 3]
    for index in range(2):
        shown = frames.sequence(0, index)
        target = tokenizer.encode(shown.targets)[0]
        for bos in ("with", "without"):
            for number, words in ((1, "1 context image"), (3, "3 context images")):
                before = tokenizer.encode(shown.images[3 - number :]).ravel()
                begin = [model.vocabulary.bos] if bos == "with" else []
                row = np.concatenate([begin, before, target]).astype(np.int32)
                logits = np.asarray(model.logits(row[None, :-1]))[0, -16:, :32].astype(np.float64)
                log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
                expected = -log_probabilities[np.arange(16), target].mean()
                result = results[f"clips, {bos} BOS, {words}"]
                nll = result.metric("nll").values[MODEL][0]
                assert nll[index] == pytest.approx(expected, abs=1e-4)  # float32 softmax
                perplexity = result.deciding.values[MODEL][0]
                np.testing.assert_allclose(perplexity, np.exp(nll))
                (total,) = result.metric("perplexity_of_mean").values[MODEL]
                assert total[0] == pytest.approx(np.exp(nll.mean()))
                assert result.verdict == "measured"
    pictures = {r.name: r.shown for r in evaluated.results}
    assert [len(shown) for shown in pictures.values()] == [0, 1, 0, 1]


def test_numbers_do_not_depend_on_batches_or_devices(model, tokenizer, frames, evaluated):
    mesh = jax.make_mesh((4, 2, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 4)
    for other, batch_size in ((model, 3), (dataclasses.replace(model, mesh=mesh), 8)):
        config = dataclasses.replace(LADDER, batch_size=batch_size)
        again = scoring.evaluate(other, tokenizer, frames, config)
        assert again.inputs == evaluated.inputs
        for one, two in zip(evaluated.results, again.results):
            # Sums of other orders: float32.
            for before, after in zip(one.metrics, two.metrics):
                np.testing.assert_allclose(
                    before.values[MODEL], after.values[MODEL], rtol=2e-5, err_msg=one.name
                )


def test_an_interrupted_evaluation_goes_on(model, tokenizer, frames, evaluated, tmp_path):
    scored = []

    def kill(number):
        scored.append(number)
        if sum(scored) >= 6:  # two rows of three sequences
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scoring.evaluate(model, tokenizer, frames, LADDER, parts=Parts(tmp_path), progress=kill)
    again = scoring.evaluate(model, tokenizer, frames, LADDER, parts=Parts(tmp_path))
    assert again.found == 1 + 2  # the ids, and the rows
    for one, two in zip(evaluated.results, again.results):
        np.testing.assert_array_equal(one.deciding.values[MODEL], two.deciding.values[MODEL])
    whole = scoring.evaluate(
        model, tokenizer, frames, dataclasses.replace(LADDER, over="all"), parts=Parts(tmp_path)
    )
    assert whole.found == 1
    assert scoring.num_rows(frames, LADDER) == 3 * 4


def test_lists_of_any_length_and_trained_framing(model, tokenizer, clips):
    paths = [str(path) for path in sorted((clips / "a").iterdir())]
    listed = [
        ListedSequence(images=tuple(paths[:2]), targets=(paths[2],), where="list line 1"),
        ListedSequence(images=tuple(paths[:1]), targets=tuple(paths[3:5]), where="list line 2"),
    ]
    asked = ListedSequences(name="list", listed=listed, loader=LOADER)
    (result,) = scoring.evaluate(model, tokenizer, asked, ScoringConfig()).results
    nll = result.metric("nll").values[MODEL][0]
    (total,) = result.metric("perplexity_of_mean").values[MODEL]
    # The second has twice as many ids.
    assert total[0] == pytest.approx(np.exp((nll[0] + 2 * nll[1]) / 3))
    bare = dataclasses.replace(model, framing=Framing(bos=False, eos=False))
    (trained,) = scoring.evaluate(bare, tokenizer, asked, ScoringConfig()).results
    (without,) = scoring.evaluate(model, tokenizer, asked, ScoringConfig(bos=("without",))).results
    np.testing.assert_array_equal(trained.deciding.all_values(), without.deciding.all_values())
    with pytest.raises(ValueError, match="list line 2 has 1 images before its targets"):
        scoring.evaluate(model, tokenizer, asked, ScoringConfig(context_images=(2,)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context_images": (0,)}, "context_images=.* at least 1"),
        ({"shots": (1, 1)}, "must differ"),
        ({"shots": (1,), "context_images": (1,)}, "two ways"),
        ({"bos": ()}, "bos names nothing"),
    ],
)
def test_bad_lengths_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        ScoringConfig(**change)


def test_what_does_not_fit_is_named(model, tokenizer, frames, clips):
    with pytest.raises(ConfigError, match="shots=2 takes 5 images and a target, but a context of"):
        scoring.evaluate(model, tokenizer, frames, ScoringConfig(shots=(2,)))
    found = sequences.find_frames(str(clips))
    with pytest.raises(ValueError, match="a holds 12, but it takes 13"):
        FrameFolders(name="x", folders=found, num_frames=13, num_targets=1, loader=LOADER)
    with pytest.raises(ConfigError, match="num_targets=4 must lie in"):
        FrameFolders(name="x", folders=found, num_frames=4, num_targets=4, loader=LOADER)
