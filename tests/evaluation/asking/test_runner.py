"""Each condition's perplexity and each compared image, rebuilt by hand; parts; shots."""

import dataclasses

import numpy as np
import pytest

from lvm_jax.evaluation.asking import results as names
from lvm_jax.evaluation.asking import runner
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.asking.parts import Parts
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.pixels import Pixels
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.generation import answers
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.images import ImageConfig
from lvm_jax.measures import fidelity
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences.kinds import KINDS
from lvm_jax.vocabulary import Framing

CONFIG = AskingConfig(
    seeds=(3, 4),
    num_examples=5,
    num_answered=2,
    num_candidates=2,
    num_shown=1,
    batch_size=4,
    pixels="float32",
)
UNIGRAM = perplexity.unigram(np.arange(32))


@pytest.fixture(scope="module")
def tasks(folder):
    options = {"folder": str(folder), "pairs_per_sentence": 2, "crop": (0.4, 0.9)}
    sources = [KINDS[kind](**options) for kind in ("colorization", "edges")]
    loader = SquareLoader(ImageConfig(), 16, 2**20)
    return [Pixels(examples=SentenceExamples(source=source, loader=loader)) for source in sources]


@pytest.fixture(scope="module")
def evaluation(model, tokenizer, tasks):
    parts = []
    evaluated = runner.evaluate(
        model, tokenizer, tasks, CONFIG, unigram=UNIGRAM, progress=parts.append
    )
    assert parts == [f"{task.name}, seed {seed}" for seed in CONFIG.seeds for task in tasks]
    assert len(parts) == runner.num_parts(len(tasks), CONFIG)
    return evaluated


def nll_by_hand(model, tokenizer, images_before, answer, first=16):
    """Mean nats per id of an answer, or of its first ids, after BOS and images."""
    ids = [] if len(images_before) == 0 else tokenizer.encode(np.stack(images_before)).ravel()
    target = tokenizer.encode(answer[None])[0]
    row = np.concatenate([[model.vocabulary.bos], ids, target]).astype(np.int32)
    logits = np.asarray(model.logits(row[None, :-1]))[0, -16:, :32].astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -log_probabilities[np.arange(16), target][:first].mean()


@pytest.mark.parametrize("which", [0, 1])
def test_conditions_are_what_they_say(model, tokenizer, tasks, evaluation, which):
    nll = evaluation.results[which].truth.values
    for place, seed in enumerate(CONFIG.seeds):
        for index in range(2):
            own = tasks[which].example(seed, index)
            other = tasks[1 - which].example(seed, index)
            prompts = {
                names.MODEL: [*own.pairs[0], own.query],
                names.OTHER: [*other.pairs[0], own.query],
                names.QUERY: [own.query],
                names.NONE: [],
            }
            for condition, before in prompts.items():
                expected = nll_by_hand(model, tokenizer, before, own.answer)
                # float32 against float64 softmax.
                assert nll[condition][place][index] == pytest.approx(expected, abs=1e-4)
            target = tokenizer.encode(own.answer[None])[0]
            assert nll[names.UNIGRAM][place][index] == pytest.approx(
                -np.log(UNIGRAM[target]).mean()
            )


def test_first_ids_are_scored_apart(model, tokenizer, tasks, evaluation):
    config = dataclasses.replace(CONFIG, first_ids=(1, 5, 16))
    (result, _) = runner.evaluate(model, tokenizer, tasks, config, unigram=UNIGRAM).results
    scored = {n: result.metric(names.truth_metric(n).name) for n in (0, 1, 5, 16)}
    assert scored[1].metric.name == "perplexity_of_first_id" and result.truth is scored[0]
    for name, values in evaluation.results[0].truth.values.items():
        np.testing.assert_array_equal(scored[0].values[name], values)  # measured besides
        np.testing.assert_array_equal(scored[16].values[name], values)
    own = tasks[0].example(3, 1)
    for first in (1, 5):
        by_hand = nll_by_hand(model, tokenizer, [own.query], own.answer, first)
        assert scored[first].values[names.QUERY][0][1] == pytest.approx(by_hand, abs=1e-4)
    assert scored[5].margins[names.OTHER].num_prompts == 10


def test_compared_images_are_what_they_say(model, tokenizer, tasks, evaluation):
    example = tasks[0].example(3, 1)
    mse = {name: seeds[0][1] for name, seeds in evaluation.results[0].deciding.values.items()}
    truth = example.answer
    (seed,) = runner.drawing_seeds(3, [1])
    asked = AnswerConfig(num_candidates=2, seed=seed, batch_size=4)
    prompt = [*example.pairs[0], example.query]
    (drawn,) = answers.answer_prompts(model, tokenizer, [prompt], asked)
    decoded = tokenizer.decode(tokenizer.encode(truth[None]))[0]
    errors = fidelity.mse(drawn[:, 0], truth[None])
    likelier = np.argmin(_surprise(model, tokenizer, prompt, asked))
    only = fidelity.mse(example.pairs[0, 1], truth)  # one pair: its own mean, and the nearest
    expected = {
        names.MODEL: errors.mean(),
        names.BEST_BY_LIKELIHOOD: errors[likelier],
        names.BEST_BY_ORACLE: errors.min(),
        names.CEILING: fidelity.mse(decoded, truth),
        names.COPY: fidelity.mse(example.query, truth),
        names.MEAN: only,
        names.NEAREST_PIXELS: only,
        names.NEAREST_IDS: only,
    }
    assert mse == pytest.approx(expected)


def test_every_example_draws_its_own_answers():
    seeds = runner.drawing_seeds(3, range(40)) + runner.drawing_seeds(4, range(40))
    assert len(set(seeds)) == 80
    assert runner.drawing_seeds(4, range(32, 40)) == seeds[72:]


def _surprise(model, tokenizer, prompt, asked):
    """Nats that the model gives to each of its candidates."""
    ids = tokenizer.encode(np.stack(prompt))
    (drawn,) = answers.answer_ids(model, [ids], asked)
    row = np.concatenate([[model.vocabulary.bos], ids.ravel()]).astype(np.int32)
    nll = perplexity.target_nll(model, np.stack([row] * len(drawn)), drawn[:, 0])
    return nll.mean(axis=1)


def test_shapes_and_pictures(evaluation):
    for result in evaluation.results:
        assert result.seeds == (3, 4)
        for metric, number in zip(result.metrics, (5, 2)):
            assert all(len(v) == number for seeds in metric.values.values() for v in seeds)
        (shown,) = result.shown
        assert shown.place == "median"
        kinds = {group.kind: group.pictures.shape for group in shown.groups}
        assert kinds["examples"] == (1, 2, 16, 16, 3)
        assert kinds["answers"] == (2, 1, 16, 16, 3)


def test_an_interrupted_evaluation_goes_on(model, tokenizer, tasks, evaluation, tmp_path):
    """What was finished is not asked again, and never taken for other settings."""
    ask = lambda config: runner.evaluate(
        model, tokenizer, tasks, config, unigram=UNIGRAM, parts=Parts(tmp_path)
    )

    def kill(what):
        if what == "edges, seed 4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.evaluate(
            model,
            tokenizer,
            tasks,
            CONFIG,
            unigram=UNIGRAM,
            parts=Parts(tmp_path),
            progress=kill,
        )
    again = ask(CONFIG)
    # Ids of two tasks and two seeds, and all answers but the last.
    assert again.found == 4 + 3
    assert again.inputs == evaluation.inputs and again.prompts == evaluation.prompts
    for before, after in zip(evaluation.results, again.results):
        for one, other in zip(before.metrics, after.metrics):
            for whose, seeds in one.values.items():
                np.testing.assert_array_equal(seeds, other.values[whose])
    hotter = ask(dataclasses.replace(CONFIG, temperature=2.0, seeds=(3,)))
    assert hotter.found == 2  # its pictures' ids
    damaged = next(path for path in tmp_path.iterdir() if path.stat().st_size > 1000)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert ask(CONFIG).found == 7


def test_numbers_of_all_examples_together_and_of_fewer_shots(model, tokenizer, tasks):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Summed(Pixels):
        metrics: tuple = (
            *Pixels.metrics,
            Metric(name="count", unit="", better="higher", per_example=False),
        )

        def measure(self, picture, example):
            assert picture.dtype == np.uint8
            return dataclasses.replace(super().measure(picture, example), tally=np.ones(1))

        def summarize(self, tally):
            return {"count": float(tally[0])}

    small = dataclasses.replace(
        CONFIG, seeds=(3,), num_examples=2, shots=(0, 1), pixels="uint8", score_truth=False
    )
    task = Summed(examples=tasks[0].examples)
    none, one = runner.evaluate(model, tokenizer, [task], small).results
    assert (none.name, one.rung.value) == ("colorization, 0 example pairs", 1)
    assert none.metrics[1].values[names.MODEL][0].tolist() == [2.0]
    assert set(none.deciding.rivals) == {names.COPY}  # there are no examples to draw from
    assert names.MEAN in one.deciding.rivals and none.truth is None
    with pytest.raises(ValueError, match="shots=3 exceeds the 1 example pairs"):
        runner.evaluate(model, tokenizer, [task], dataclasses.replace(small, shots=(3,)))


def test_a_lone_task_has_no_wrong_prompt_and_no_bos_no_empty_one(model, tokenizer, tasks):
    small = dataclasses.replace(CONFIG, seeds=(3,), num_examples=1, num_answered=1)
    bare = dataclasses.replace(model, framing=Framing(bos=False, eos=False))
    (result,) = runner.evaluate(bare, tokenizer, tasks[:1], small).results
    assert result.truth.rivals == (names.QUERY,)


def test_another_tokenizer_is_refused(model, tokenizer, tasks):
    other = dataclasses.replace(model, tokenizer_fingerprint="f" * 64)
    with pytest.raises(ValueError, match="ffffffffffff"):
        runner.evaluate(other, tokenizer, tasks, CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "seeds"),
        ({"seeds": (0, -1)}, r"^seeds=-1 must lie in \[0, 2\*\*32\)"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"num_candidates": 0}, "num_candidates=0"),
        ({"num_answered": 99}, "num_answered=99"),
        ({"shots": (1, 1)}, "shots"),
        ({"first_ids": (4, 0)}, r"first_ids=\(4, 0\) must be at least 1"),
        ({"top_p": 0.0}, "top_p=0.0"),
    ],
)
def test_bad_amounts_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        AskingConfig(**change)
