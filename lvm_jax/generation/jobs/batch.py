"""Many jobs, each written as soon as it is answered; what is done already is kept.

Legend: n images of a prompt, C candidates, M new images, K <= M targets, S side in pixels.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax import images as images_lib
from lvm_jax.frames import frame_readers
from lvm_jax.generation import answers, prompts
from lvm_jax.generation.jobs import outputs, records
from lvm_jax.generation.jobs.job import Job
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.image_formats import image_files
from lvm_jax.images import ImageConfig, ImageError
from lvm_jax.measures import fidelity
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.tokenizer.codec import Tokenizer

# Device batches whose prompts are read together, so that few rows of one are left empty.
_BATCHES_AT_ONCE = 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """A job that is over.

    Attributes:
        job: which.
        psnr: float [C, K] in dB against the targets, which may be none.
        problem: why nothing was written; "" if all was.
    """

    job: Job
    psnr: np.ndarray
    problem: str = ""


def check(jobs: Sequence[Job]) -> None:
    """Refuses what can be known before a model is there.

    Raises:
        ValueError: two jobs with one output, an output that is an input or lies where nothing can
            be written, or a picture that is none; names the job.
    """
    owners: dict[str, str] = {}
    read = {os.path.realpath(picture.path) for job in jobs for picture in job.images + job.targets}
    folders: dict[pathlib.Path, None] = {}
    for job in jobs:
        outputs.check(job)
        for file in (*outputs.paths(job), records.path(job)):
            real = os.path.realpath(file)
            if real in owners:
                raise ValueError(
                    f"{job.where}: {file} is an output of {owners[real]} too; give each its own"
                )
            if real in read:
                raise ValueError(f"{job.where}: {file} is an input; give another output")
            if file.is_dir():
                raise ValueError(f"{job.where}: {file} is a folder; give a file in it")
            owners[real] = job.where
            if file.parent not in folders:
                _check_folder(job, file.parent)
                folders[file.parent] = None
    seen: set[str] = set()
    for job in jobs:
        for picture in job.images + job.targets:
            if picture.frame < 0 and picture.path not in seen:
                seen.add(picture.path)
                _check_picture(job, picture.path)


def _check_folder(job: Job, folder: pathlib.Path) -> None:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise ValueError(f"{job.where}: {there} is no folder; choose another output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{job.where}: nothing can be written to {there}; choose another output")


def _check_picture(job: Job, path: str) -> None:
    try:
        with image_files.opened(path):
            pass
    except ImageError as error:
        raise ValueError(f"{job.where}: {error}") from error


def check_readable(job: Job, size: int) -> None:
    """Refuses a job with a picture that does not decode; `run` passes over it.

    Args:
        job: with `reading` set.
        size: side of the tokenizer's images in pixels.

    Raises:
        ValueError: names the job and the picture.
    """
    try:
        _squares(job, size)
    except ImageError as error:
        raise ValueError(f"{job.where}: {error}") from error


def check_room(jobs: Sequence[Job], context: int, tokens_per_image: int) -> None:
    """Refuses prompts that are too long for a model and may lose no image.

    Args:
        jobs: whose prompts.
        context: most ids that the model looks at.
        tokens_per_image: ids of an image.

    Raises:
        ConfigError: says how many images fit.
    """
    for job in jobs:
        if not job.answer.drop_oldest:
            prompts.check_room(
                context, tokens_per_image, len(job.images), job.answer, where=job.where
            )


def pending(
    jobs: Sequence[Job], model: LanguageModel, tokenizer: Tokenizer, *, overwrite: bool
) -> dict[int, dict[str, Any]]:
    """The jobs that are still to do, by number, with their settings.

    Raises:
        ValueError: an output is there and is not what the job makes, unless it may be overwritten.
    """
    model_fingerprint = records.model_fingerprint(model)
    wanted = [records.settings(job, model_fingerprint, tokenizer) for job in jobs]
    return {
        number: values
        for number, (job, values) in enumerate(zip(jobs, wanted))
        if not records.is_done(job, values, overwrite=overwrite)
    }


def run(
    model: LanguageModel,
    tokenizer: Tokenizer,
    jobs: Sequence[Job],
    wanted: Mapping[int, Mapping[str, Any]],
    *,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[Finished]:
    """Answers jobs and writes what they ask for, each as soon as its last image is there.

    An answer depends on its own job alone. A job whose pictures do not decode is passed over.

    Args:
        model, tokenizer: which.
        jobs: with `reading` set; what is asked differs in seeds alone.
        wanted: number -> settings of those to do, see `pending`.
        progress: called with the number of new images made since the last call.

    Yields:
        Every job to do once, in the order in which they are over.

    Raises:
        RuntimeError: there is not enough memory, or the disk is full; what was written is whole.
    """
    numbers = list(wanted)
    if not numbers:
        return
    config = jobs[numbers[0]].answer
    step = max(1, _BATCHES_AT_ONCE * config.batch_size // config.num_candidates)
    for start in range(0, len(numbers), step):
        squares: dict[int, np.ndarray] = {}
        for number in numbers[start : start + step]:
            try:
                squares[number] = _squares(jobs[number], tokenizer.image_size)
            except ImageError as error:
                yield Finished(job=jobs[number], psnr=np.zeros((0, 0)), problem=str(error))
        read = list(squares)
        stream = answers.answer_stream(
            model,
            tokenizer,
            [squares[number][: len(jobs[number].images)] for number in read],
            config,
            seeds=[jobs[number].answer.seed for number in read],
        )
        made: dict[int, list[np.ndarray]] = {number: [] for number in read}
        for new in stream:
            number = read[new.prompt]
            made[number].append(new.images)
            if progress is not None:
                progress(1)
            if len(made[number]) == config.num_new_images:
                answers_CM = np.stack(made.pop(number), axis=1)
                yield _write(jobs[number], wanted[number], squares.pop(number), answers_CM)


def _squares(job: Job, size: int) -> np.ndarray:
    """Prompt, then targets: uint8 [n + K, S, S, 3]."""
    assert job.reading is not None
    loader = SquareLoader(job.reading, size)
    return np.stack([loader.load_one(picture.ref) for picture in job.images + job.targets])


def _write(
    job: Job, wanted: Mapping[str, Any], squares: np.ndarray, answers_CM: np.ndarray
) -> Finished:
    prompt_n, truth_K = np.split(squares, [len(job.images)])
    psnr_CK = np.asarray(fidelity.psnr(answers_CM[:, : len(truth_K)], truth_K[None]))
    shown = _original if job.drawing.original_size else (lambda job, squares: squares)
    answered = outputs.Answered(
        prompt=shown(job, prompt_n),
        answers=shown(job, images_lib.to_uint8(answers_CM)),
        truth=shown(job, truth_K),
        psnr=psnr_CK,
    )
    facts = {"psnr": psnr_CK.round(4).tolist()} if psnr_CK.size else {}
    records.write(job, wanted, outputs.files(job, answered), facts)
    return Finished(job=job, psnr=psnr_CK)


def _original(job: Job, squares: np.ndarray) -> np.ndarray:
    """Squares [..., S, S, 3] in the form that the query had: [..., H, W, 3]."""
    assert job.reading is not None
    height, width = _query_size(job, job.reading)
    flat = squares.reshape(-1, *squares.shape[-3:])
    restored = [images_lib.restored(square, height, width, job.reading.resize) for square in flat]
    return np.reshape(restored, (*squares.shape[:-3], height, width, 3)).astype(np.uint8)


def _query_size(job: Job, reading: ImageConfig) -> tuple[int, int]:
    query = job.images[-1]
    if query.frame >= 0:
        return frame_readers.read_frame(query.path, query.frame, reading.max_pixels).shape[:2]
    with image_files.opened(query.path) as picture:
        width, height = picture.size
    return height, width
