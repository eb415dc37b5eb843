"""Each condition's perplexity and each compared image, rebuilt by hand."""

import dataclasses

import numpy as np
import pytest

from lvm_jax.evaluation.analogies import asking, scores
from lvm_jax.evaluation.analogies.asking import AnalogyConfig
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.generation import answers
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.images import ImageConfig
from lvm_jax.measures import fidelity
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences.kinds import KINDS

CONFIG = AnalogyConfig(
    seeds=(3, 4), num_examples=5, num_answered=2, num_candidates=2, num_shown=1, batch_size=4
)
UNIGRAM = perplexity.unigram(np.arange(32))


@pytest.fixture(scope="module")
def tasks(folder):
    options = {"folder": str(folder), "pairs_per_sentence": 2, "crop": (0.4, 0.9)}
    sources = [KINDS[kind](**options) for kind in ("colorization", "edges")]
    loader = SquareLoader(ImageConfig(), 16, 2**20)
    return [SentenceExamples(source=source, loader=loader) for source in sources]


@pytest.fixture(scope="module")
def results(model, tokenizer, tasks):
    parts = []
    evaluated = asking.evaluate(model, tokenizer, tasks, UNIGRAM, CONFIG, progress=parts.append)
    assert parts == [f"{task.name}, seed {seed}" for seed in CONFIG.seeds for task in tasks]
    return evaluated


def nll_by_hand(model, tokenizer, images_before, answer):
    """Mean nats per id of an answer after BOS and images."""
    ids = [] if len(images_before) == 0 else tokenizer.encode(np.stack(images_before)).ravel()
    target = tokenizer.encode(answer[None])[0]
    row = np.concatenate([[model.vocabulary.bos], ids, target]).astype(np.int32)
    logits = np.asarray(model.logits(row[None, :-1]))[0, -16:, :32].astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -log_probabilities[np.arange(16), target].mean()


@pytest.mark.parametrize("which", [0, 1])
def test_conditions_are_what_they_say(model, tokenizer, tasks, results, which):
    for seed_scores in results[which].seeds:
        for index in range(2):
            own = tasks[which].example(seed_scores.seed, index)
            other = tasks[1 - which].example(seed_scores.seed, index)
            prompts = {
                scores.RIGHT: [*own.pairs[0], own.query],
                scores.OTHER: [*other.pairs[0], own.query],
                scores.QUERY: [own.query],
                scores.NONE: [],
            }
            for condition, before in prompts.items():
                expected = nll_by_hand(model, tokenizer, before, own.answer)
                # float32 against float64 softmax.
                assert seed_scores.nll[condition][index] == pytest.approx(expected, abs=1e-4)
            target = tokenizer.encode(own.answer[None])[0]
            assert seed_scores.nll[scores.UNIGRAM][index] == pytest.approx(
                -np.log(UNIGRAM[target]).mean()
            )


def test_compared_images_are_what_they_say(model, tokenizer, tasks, results):
    example = tasks[0].example(3, 1)
    mse = {name: values[1] for name, values in results[0].seeds[0].mse.items()}
    truth = example.answer
    asked = AnswerConfig(num_candidates=2, seed=3, batch_size=4)
    prompt = [*example.pairs[0], example.query]
    (drawn,) = answers.answer_prompts(model, tokenizer, [prompt], asked)
    decoded = tokenizer.decode(tokenizer.encode(truth[None]))[0]
    expected = {
        scores.ANSWER: fidelity.mse(drawn[:, 0], truth).mean(),
        scores.CEILING: fidelity.mse(decoded, truth),
        scores.COPY: fidelity.mse(example.query, truth),
        scores.MEAN: fidelity.mse(example.pairs[0, 1], truth),  # one pair: its own mean
    }
    assert mse == pytest.approx(expected)


def test_shapes_and_pictures(results):
    for result in results:
        assert [seed.seed for seed in result.seeds] == [3, 4]
        assert all(len(values) == 5 for seed in result.seeds for values in seed.nll.values())
        assert all(len(values) == 2 for seed in result.seeds for values in seed.mse.values())
        (shown,) = result.shown
        assert shown.candidates.shape == (2, 16, 16, 3)
        assert shown.candidates.dtype == np.uint8


def test_a_lone_task_has_no_wrong_prompt(model, tokenizer, tasks):
    small = dataclasses.replace(CONFIG, seeds=(3,), num_examples=2, num_answered=2)
    (result,) = asking.evaluate(model, tokenizer, tasks[:1], UNIGRAM, small)
    assert result.rivals == (scores.NONE, scores.UNIGRAM, scores.QUERY)


def test_another_tokenizer_is_refused(model, tokenizer, tasks):
    other = dataclasses.replace(model, tokenizer_fingerprint="f" * 64)
    with pytest.raises(ValueError, match="ffffffffffff"):
        asking.evaluate(other, tokenizer, tasks, UNIGRAM, CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "seeds"),
        ({"seeds": (0, -1)}, r"^seeds=-1 must lie in \[0, 2\*\*32\)"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"num_candidates": 0}, "num_candidates=0"),
        ({"num_answered": 99}, "num_answered=99"),
        ({"top_p": 0.0}, "top_p=0.0"),
    ],
)
def test_bad_amounts_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        AnalogyConfig(**change)
