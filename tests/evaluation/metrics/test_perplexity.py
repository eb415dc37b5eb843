"""Perplexity against the definition, computed another way."""

import jax
import numpy as np
import pytest

from lvm_jax.evaluation.metrics import perplexity


@pytest.fixture(scope="module")
def ids(model):
    return (
        np.random.default_rng(0).integers(0, model.vocabulary.num_codes, (5, 40)).astype(np.int32)
    )


@pytest.mark.parametrize("over", ["codes", "all"])
def test_nll_is_the_log_probability_of_each_target(model, ids, over):
    nll = perplexity.target_nll(model, ids[:, :24], ids[:, 24:], over=over, batch_size=2)
    legal = model.vocabulary.num_codes if over == "codes" else model.vocabulary.size
    logits = np.asarray(model.logits(ids))[:, 23:-1, :legal].astype(np.float64)
    log_probabilities = logits - jax.scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    expected = -np.take_along_axis(np.asarray(log_probabilities), ids[:, 24:, None], -1)[..., 0]
    assert nll.shape == (5, 16)
    # float32 logits of magnitude up to ten.
    np.testing.assert_allclose(nll, expected, atol=1e-4)


def test_an_example_does_not_depend_on_the_others(model, ids):
    together = perplexity.target_nll(model, ids[:, :24], ids[:, 24:], batch_size=2)
    alone = perplexity.target_nll(model, ids[4:, :24], ids[4:, 24:], batch_size=2)
    np.testing.assert_array_equal(together[4:], alone)


def test_targets_do_not_see_later_targets(model, ids):
    changed = ids.copy()
    changed[:, 32:] = 0
    before, after = (
        perplexity.target_nll(model, x[:, :24], x[:, 24:], batch_size=2) for x in (ids, changed)
    )
    np.testing.assert_array_equal(before[:, :8], after[:, :8])


def test_examples_of_different_lengths_keep_their_order(model, ids):
    prompts = [ids[0, :24], ids[1, :8], ids[2, :24]]
    targets = [row[24:] for row in ids[:3]]
    nlls = perplexity.target_nll_of_each(model, prompts, targets, batch_size=2)
    for prompt, target, nll in zip(prompts, targets, nlls):
        (alone,) = perplexity.target_nll(model, prompt[None], target[None], batch_size=2)
        np.testing.assert_array_equal(nll, alone)


def test_both_perplexities():
    summary = perplexity.summarize([np.full(4, np.log(2.0)), np.full(4, np.log(8.0))])
    assert summary.mean_of_perplexities == pytest.approx(5.0)  # (2 + 8) / 2
    assert summary.of_mean == pytest.approx(4.0)  # sqrt(2 * 8)
    assert summary.num_examples == 2


def test_unigram():
    probabilities = perplexity.unigram(np.array([3, 1, 0, 1]))
    np.testing.assert_allclose(probabilities, np.array([4, 2, 1, 2]) / 9)
    nll = perplexity.unigram_nll(np.array([[0, 2]]), probabilities)
    np.testing.assert_allclose(nll, -np.log([[4 / 9, 1 / 9]]))


def test_a_uniform_unigram_has_as_much_perplexity_as_codes():
    nll = perplexity.unigram_nll(np.arange(7)[None], perplexity.unigram(np.zeros(7)))
    assert perplexity.summarize(nll).of_mean == pytest.approx(7.0)


def test_what_does_not_fit_is_refused(model, ids):
    with pytest.raises(ValueError, match="context of 64"):
        perplexity.target_nll(model, np.tile(ids, 2)[:, :50], ids[:, :16])
    with pytest.raises(ValueError, match=r"0\.\.31"):
        perplexity.target_nll(model, ids[:, :24], ids[:, 24:] + 10)
    with pytest.raises(ValueError, match="do not pair up"):
        perplexity.target_nll(model, ids[:2, :24], ids[:, 24:])


def test_a_lack_of_memory_says_what_to_lower(model, ids, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(perplexity, "_target_nll", fail)
    with pytest.raises(RuntimeError, match="out of memory with 7 rows at a time: lower batch_size"):
        perplexity.target_nll(model, ids[:, :24], ids[:, 24:], batch_size=7)
