"""Prompts -> answers as they are made, each with what the model thinks of it.

Candidates are drawn a few at a time and new images one by one, so that a page can show what there
is, say how long the rest takes, and stop.

Legend: n images of a prompt, C candidates, M new images, K <= M targets, T ids per image, S side of
an image in pixels.
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Generator, Sequence

import numpy as np

from lvm_jax import images as images_lib
from lvm_jax.demo.limits import Limits
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.generation import answers, prompt_images, prompts
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.decode_loop import Part
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.images import ImageConfig
from lvm_jax.measures import fidelity
from lvm_jax.tokenizer.codec import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A prompt and what is asked.

    Attributes:
        images: uint8 [n, S, S, 3].
        config: what is asked.
        targets: uint8 [K, S, S, 3], the true new images as far as they are known.
    """

    images: np.ndarray
    config: AnswerConfig
    targets: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One answer.

    Attributes:
        number: of the draw, from 0.
        images: uint8 [M, S, S, 3]; fewer while it is being made.
        perplexity: exp of the mean negative log-likelihood of its ids under the prompt, over the
            codes and before temperature, top-k and top-p; None while it is being made.
        psnr: of each image that has a target, in dB.
    """

    number: int
    images: np.ndarray
    perplexity: float | None
    psnr: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What there is of an answer.

    Attributes:
        candidates: the likeliest first, those that are being made behind them.
        truth_perplexity: of the targets under the prompt, as for `Candidate`.
        num_images: made so far, of all candidates.
        num_wanted: of them in the end.
        seconds: since the beginning.
        seconds_left: at this pace; None while that is not known, as the first images of their kind
            took as long as it takes to compile their program, too.
    """

    candidates: tuple[Candidate, ...]
    truth_perplexity: float | None
    num_images: int
    num_wanted: int
    seconds: float
    seconds_left: float | None

    @property
    def is_done(self) -> bool:
        """Whether all of it is there."""
        return self.num_images == self.num_wanted


class Answerer:
    """A model that answers one question at a time, whoever asks.

    Args:
        model, tokenizer: which.
        reading: how files become squares.
        at_once: candidates drawn together.
    """

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, reading: ImageConfig, at_once: int = 4
    ):
        model.check_tokenizer(tokenizer)
        self.model, self.tokenizer, self.reading = model, tokenizer, reading
        self.limits = Limits(
            context=model.config.context,
            tokens_per_image=tokenizer.tokens_per_image,
            image_size=tokenizer.image_size,
        )
        self._at_once = at_once
        self._device = threading.Lock()
        self._seconds: dict[tuple[int, ...], float] = {}
        self._compiling: set[tuple[int, ...]] = set()  # whose seconds hold a compilation

    def seconds_needed(self, num_images: int, config: AnswerConfig) -> float | None:
        """How long such an answer took last time; None if there was none."""
        pace = [
            self._seconds.get(self._key(num_images, config, index))
            for index in range(config.num_new_images)
        ]
        known = [seconds for seconds in pace if seconds is not None]
        return self._num_rounds(config) * sum(known) if len(known) == len(pace) else None

    def answer(self, question: Question) -> Generator[Answers]:
        """Answers a question; whoever closes the iterator stops the computing.

        Yields:
            What there is, with every new image that all candidates of a round have.

        Raises:
            ValueError: the prompt does not fit the model, or holds no image.
            RuntimeError: there is not enough memory; says what to lower.
        """
        config, begun = question.config, time.monotonic()
        with self._device:
            (ids_nT,) = prompt_images.encode_prompts(self.model, self.tokenizer, [question.images])
            truth = self._truth_perplexity(ids_nT, question)
        done: list[Candidate] = []
        parts_left = self._num_rounds(config) * config.num_new_images
        round_config = self._round(config)
        for start in range(0, config.num_candidates, round_config.num_candidates):
            wanted = min(round_config.num_candidates, config.num_candidates - start)
            newest: list[Candidate] = []
            made: list[np.ndarray] = []
            with contextlib.closing(self._parts(ids_nT, round_config, start)) as parts:
                for images_CS, perplexities in parts:
                    made.append(images_CS[:wanted])
                    parts_left -= 1
                    newest = _candidates(start, made, perplexities, question.targets)
                    key = self._key(len(ids_nT), config, len(made) - 1)
                    there = [*done, *newest]
                    yield Answers(
                        candidates=tuple(sorted(there, key=_likelihood)),
                        truth_perplexity=truth,
                        num_images=sum(len(candidate.images) for candidate in there),
                        num_wanted=config.num_candidates * config.num_new_images,
                        seconds=time.monotonic() - begun,
                        seconds_left=self._seconds_left(parts_left, key),
                    )
            done += newest

    def _parts(
        self, ids_nT: np.ndarray, config: AnswerConfig, first_candidate: int
    ) -> Generator[tuple[np.ndarray, list[float] | None]]:
        """New images of a round, uint8 [C, S, S, 3], and with the last ones the perplexities."""
        stream = answers.id_stream(self.model, [ids_nT], config, first_candidate=first_candidate)
        made_CT: list[np.ndarray] = []
        for index in range(config.num_new_images):
            with self._device:
                begun = time.monotonic()
                part: Part = next(stream)
                made_CT.append(part.ids[0])
                images = images_lib.to_uint8(self.tokenizer.decode(part.ids[0]))
                is_last = index == config.num_new_images - 1
                perplexities = self._perplexities(ids_nT, made_CT, config) if is_last else None
                key = self._key(len(ids_nT), config, index)
                self._took(key, time.monotonic() - begun)
            yield images, perplexities

    def _took(self, key: tuple[int, ...], seconds: float) -> None:
        if key in self._seconds:
            self._compiling.discard(key)
        else:
            self._compiling.add(key)
        self._seconds[key] = seconds

    def _seconds_left(self, parts_left: int, key: tuple[int, ...]) -> float | None:
        if parts_left and key in self._compiling:
            return None
        return parts_left * self._seconds[key]

    def _perplexities(
        self, ids_nT: np.ndarray, new_CT: Sequence[np.ndarray], config: AnswerConfig
    ) -> list[float]:
        """Of candidates' ids [C, T] of each new image, each asked with what the model had seen."""
        context, T = self.model.config.context, ids_nT.shape[1]
        now = prompts.new_images_at_once(context, T, len(ids_nT), len(new_CT))
        targets = [np.concatenate(new_CT[:now], axis=1), *new_CT[now:]]
        num_candidates = len(new_CT[0])
        seen = np.tile(ids_nT, (num_candidates, 1, 1))
        nll_CL = []
        for number, target_CL in enumerate(targets):
            window = prompts.sequential(
                seen,
                vocabulary=self.model.vocabulary,
                framing=self.model.framing,
                context=context,
                num_new_images=1 if number else now,
                images_per_example=config.images_per_example,
            )
            nll_CL.append(
                perplexity.target_nll(self.model, window, target_CL, batch_size=num_candidates)
            )
            new = target_CL.reshape(num_candidates, -1, T)
            seen = np.concatenate([seen, new], axis=1)
        return np.exp(np.concatenate(nll_CL, axis=1).mean(axis=1)).tolist()

    def _truth_perplexity(self, ids_nT: np.ndarray, question: Question) -> float | None:
        if question.targets is None or not len(question.targets):
            return None
        target_KT = self.tokenizer.encode(question.targets)
        new = [target_KT[index : index + 1] for index in range(len(target_KT))]
        return self._perplexities(ids_nT, new, question.config)[0]

    def _round(self, config: AnswerConfig) -> AnswerConfig:
        """What is asked at a time; all rounds are of one size, which compiles once."""
        size = -(-config.num_candidates // self._num_rounds(config))
        return dataclasses.replace(config, num_candidates=size, batch_size=size)

    def _num_rounds(self, config: AnswerConfig) -> int:
        return -(-config.num_candidates // self._at_once)

    def _key(self, num_images: int, config: AnswerConfig, index: int) -> tuple[int, ...]:
        size = self._round(config).num_candidates
        return num_images, size, config.num_new_images, index

    def squares_as_seen(self, squares: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """What the tokenizer makes of pictures.

        Args:
            squares: uint8 [n, S, S, 3].

        Returns:
            uint8 [n, S, S, 3] after encoding and decoding, and the PSNR of each in dB.
        """
        with self._device:
            decoded = np.asarray(self.tokenizer.decode(self.tokenizer.encode(squares)))
        return images_lib.to_uint8(decoded), fidelity.psnr(decoded, squares).tolist()


def _candidates(
    first: int,
    made: Sequence[np.ndarray],
    perplexities: Sequence[float] | None,
    targets: np.ndarray | None,
) -> list[Candidate]:
    """The candidates of a round, from their images [C, S, S, 3] of each new image so far."""
    images_CM = np.stack(made, axis=1)
    psnr_CK = np.zeros((len(images_CM), 0))
    if targets is not None and len(targets):
        known = min(len(targets), len(made))
        psnr_CK = fidelity.psnr(images_CM[:, :known], targets[None, :known])
    return [
        Candidate(
            number=first + place,
            images=images_M,
            perplexity=None if perplexities is None else perplexities[place],
            psnr=tuple(psnr_K.tolist()),
        )
        for place, (images_M, psnr_K) in enumerate(zip(images_CM, psnr_CK))
    ]


def _likelihood(candidate: Candidate) -> tuple[bool, float, int]:
    unknown = candidate.perplexity is None
    return unknown, candidate.perplexity or 0.0, candidate.number
