"""An answer -> the files that are written of it.

Legend: n images of a prompt, C candidates, M new images, K <= M targets, H height, W width.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from lvm_jax import images as images_lib
from lvm_jax import sheets
from lvm_jax.frames import clip_files
from lvm_jax.generation import sheet
from lvm_jax.generation.jobs.job import Job

Write: TypeAlias = Callable[[pathlib.Path], None]
"""Writes a file that has another name meanwhile."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """Pictures of a job, in the size in which they are shown.

    Attributes:
        prompt: uint8 [n, H, W, 3].
        answers: uint8 [C, M, H, W, 3].
        truth: uint8 [K, H, W, 3].
        psnr: float [C, K] in dB, of the squares that the model drew.
    """

    prompt: np.ndarray
    answers: np.ndarray
    truth: np.ndarray
    psnr: np.ndarray


def paths(job: Job) -> list[pathlib.Path]:
    """The files that a job writes beside its record.

    Candidates and images count from 1: `a.png` as files is `a_candidate1_image1.png`, ..., and as a
    clip of several candidates `a.gif` is `a_candidate1.gif`, ... A folder of frames has
    `00001.png`, ..., of several candidates in folders `candidate1`, ... The prompt's images are
    `a_input1.png`, ..., and a folder's first frames.
    """
    new, candidates = job.answer.num_new_images, job.answer.num_candidates
    given = len(job.images) if job.drawing.include_input else 0
    if job.drawing.form in ("sheet", "grid"):
        return [job.path]
    if job.drawing.form == "files":
        drawn = [
            f"candidate{_number(c, candidates)}_image{_number(i, new)}"
            for c in range(candidates)
            for i in range(new)
        ]
        inputs = [f"input{_number(i, given)}" for i in range(given)]
        return [_beside(job.path, name) for name in drawn + inputs]
    if job.path.suffix:
        if candidates == 1:
            return [job.path]
        names = [f"candidate{_number(c, candidates)}" for c in range(candidates)]
        return [_beside(job.path, name) for name in names]
    return [
        (job.path / f"candidate{_number(c, candidates)}" if candidates > 1 else job.path)
        / f"{i:05d}.png"
        for c in range(candidates)
        for i in range(1, given + new + 1)
    ]


def check(job: Job) -> None:
    """Refuses an output that could not be written in its form.

    Raises:
        ValueError: an unknown extension, or PyAV is not installed for a video.
    """
    try:
        if job.drawing.form != "clip":
            images_lib.written_format(job.path)
        elif job.path.suffix:
            clip_files.check(job.path)
    except ValueError as error:
        is_clip = job.drawing.form == "clip"
        folder = ", or none for a folder of frames" * (is_clip and not clip_files.is_clip(job.path))
        raise ValueError(f"{job.where}: {error}{folder}") from error


def files(job: Job, answered: Answered) -> dict[pathlib.Path, Write]:
    """What writes each of `paths`."""
    drawing, scale = job.drawing, job.drawing.scale or 1
    if drawing.form == "sheet":
        drawn = sheet.draw(
            answered.prompt,
            answered.answers,
            is_analogy=job.layout == "analogy",
            scale=drawing.scale,
            truth_K=answered.truth,
            psnr_CK=answered.psnr,
        )
        return {job.path: _picture(job.path, drawn)}
    prompt = [sheets.enlarge(image, scale) for image in answered.prompt]
    prompt = prompt if drawing.include_input else []
    answers = [[sheets.enlarge(image, scale) for image in row] for row in answered.answers]
    rows = [prompt + row for row in answers]
    if drawing.form == "grid":
        drawn = rows[0][0] if len(rows) == len(rows[0]) == 1 else sheets.grid(rows)
        return {job.path: _picture(job.path, drawn)}
    if drawing.form == "clip" and job.path.suffix:
        write = functools.partial(_clip, job)
        return {path: functools.partial(write, row) for path, row in zip(paths(job), rows)}
    ordered = [image for row in rows for image in row]
    if drawing.form == "files":
        ordered = [image for row in answers for image in row] + prompt
    return {path: _picture(path, image) for path, image in zip(paths(job), ordered, strict=True)}


def _picture(path: pathlib.Path, image: np.ndarray) -> Write:
    image_format = images_lib.written_format(path)
    return lambda partial: images_lib.write_to(partial, image, image_format)


def _clip(job: Job, frames: Sequence[np.ndarray], partial: pathlib.Path) -> None:
    clip_files.write_to(partial, frames, job.drawing.frames_per_second, job.path.suffix.lower())


def _beside(path: pathlib.Path, name: str) -> pathlib.Path:
    return path.with_name(f"{path.stem}_{name}{path.suffix}")


def _number(index: int, of: int) -> str:
    """Counted from 1, with zeros in front so that names sort."""
    return str(index + 1).zfill(len(str(of)))
