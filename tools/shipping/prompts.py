"""Prompt files that ship with a pair: held-out pictures of what it has learned, and whose they are.

Legend: n images of a prompt, S side of an image in pixels.
"""

import io
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image

from experiments.study import corpus, prompts
from lvm_jax import atomic
from lvm_jax.demo import examples
from lvm_jax.generation.jobs.prompt_files import Asked, PromptFile
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences import corpora
from lvm_jax.sentences.sources import Sentence, Source
from shipping.licences import Attribution
from studies.measure import thing_of

MOST_BYTES = 500_000
# Of every task, as far as there is room.
_EACH = 2
_SHOTS = 5
# They share their queries, so that one can be asked for all of them; others ship if learned.
FIRST = "emoji_mask"
_ALWAYS = (FIRST, "emoji_edges", "3d_to_flat")
_CLIPS = ("animation", "turntable")
# In the order in which a gallery shows them: what is easy to see, and well answered, first.
_TITLES = {
    FIRST: "Mask of an emoji",
    "depth": "Depth of a 3D model: near is bright",
    "model_edges": "Edges of a 3D model",
    "normals": "Normals: which way surfaces face",
    "emoji_edges": "Edges of an emoji",
    "3d_to_flat": "Flat drawing of a 3D emoji",
    "turntable": "A turning 3D model goes on",
    "animation": "An animated emoji goes on",
}
_FRAMES, _NEW_FRAMES = 8, 4
_ANSWER: dict[str, Any] = {"num_candidates": 4, "temperature": 0.5}  # as the study draws
_TRIES = 100
_CLIPS_TRIED = 20
_QUALITY = 95


def write(
    out: pathlib.Path,
    root: pathlib.Path,
    loader: SquareLoader,
    known: Attribution,
    asked: Mapping[str, Any] | None,
) -> tuple[list[str], set[str]]:
    """Writes OUT/TASK.json, as far as there is room OUT/TASK_2.json, and in which order to show.

    Args:
        out: a new folder.
        root: of UVD-mini, of which only held_out is looked at.
        loader: reads squares of the tokenizer's size.
        known: whose the pictures are.
        asked: the study's results of the prompts; None where these were not asked.

    Returns:
        The names of the prompts, in the order in which to show them; and the folders below held_out
        that the pictures are from.

    Raises:
        ValueError: pictures are missing, may not ship, or are too many for `MOST_BYTES`.
    """
    out.mkdir()
    used: set[str] = set()
    written: list[str] = []
    left = MOST_BYTES
    sources = _sources(root / "held_out", chosen(asked))
    shown = {source.name: _sentences(source, loader) for source in sources}
    tasks = sorted(shown, key=lambda task: [*_TITLES, task].index(task))
    for number, task in itertools.product(range(_EACH), tasks):
        if number >= len(shown[task]):
            continue
        refs = shown[task][number].images
        text = _prompt(
            [encoded(loader.load_one(ref)) for ref in refs],
            is_clip=task in _CLIPS,
            title=_TITLES.get(task, task.replace("_", " ")) + f" ({number + 1})" * bool(number),
            attribution=known.of_pictures(map(_place, refs)),
        ).text()
        if len(text) <= left:
            written.append(f"{task}_{number + 1}" if number else task)
            atomic.write_text(out / f"{written[-1]}.json", text)
            left -= len(text)
            used |= {_place(ref).parent.as_posix() for ref in refs}
        elif not number:
            raise ValueError(f"one prompt of each task has more than {MOST_BYTES:,} bytes")
    atomic.write_text(out / examples.ORDER, "\n".join(written) + "\n")
    return written, used


def chosen(asked: Mapping[str, Any] | None) -> list[str]:
    """The tasks of pairs that get a prompt: those that were learned, and a few at any rate.

    All that training poses where nothing is known.
    """
    if asked is None:
        return [name for name in prompts.tasks("", _SHOTS) if not name.startswith(prompts.UNSEEN)]
    learned = [
        name
        for name, task in asked["tasks"].items()
        if task["truth"]["all"]["posed"] and task["metric"]["beats_all"]
    ]
    return list(dict.fromkeys([*_ALWAYS, *learned]))


def _sources(folder: pathlib.Path, names: Sequence[str]) -> Sequence[Source]:
    pairs = prompts.tasks(str(folder), _SHOTS)
    clips = corpus.tasks(str(folder), 1, images=_FRAMES + _NEW_FRAMES)
    wanted = {name: pairs[name] for name in names} | {name: clips[name] for name in _CLIPS}
    return corpora.build_sources(wanted, "prompts")


def _sentences(source: Source, loader: SquareLoader) -> list[Sentence]:
    """The first `_EACH` whose pairs are of different things; of clips those in which most moves.

    Raises:
        ValueError: there is none.
    """

    def motion(sentence: Sentence) -> float:
        frames = np.stack([loader.load_one(ref) for ref in sentence.images]).astype(np.float32)
        return float(np.abs(np.diff(frames, axis=0)).mean())

    is_clip = source.name in _CLIPS
    number = min(_CLIPS_TRIED if is_clip else _TRIES, source.num_sentences())
    first = (source.sentence(0, 0, index) for index in range(number))
    if is_clip:
        return sorted(first, key=motion, reverse=True)[:_EACH]
    various = (s for s in first if len({thing_of(ref.key) for ref in s.images}) > _SHOTS)
    found = list(itertools.islice(various, _EACH))
    if not found:
        raise ValueError(f"{source.name}: no sentence shows {_SHOTS + 1} held-out things")
    return found


def _prompt(
    pictures: Sequence[bytes], *, is_clip: bool, title: str, attribution: str
) -> PromptFile:
    new = _NEW_FRAMES if is_clip else 1
    return PromptFile(
        images=tuple(pictures[:-new]),
        targets=tuple(pictures[-new:]),
        layout="sequence" if is_clip else "analogy",
        answer=Asked(num_new_images=new, **_ANSWER),
        title=title,
        attribution=attribution,
    )


def _place(ref: ImageRef) -> pathlib.PurePosixPath:
    """Of a picture below held_out."""
    return pathlib.PurePosixPath(ref.path.rpartition("/held_out/")[2])


def encoded(square: np.ndarray) -> bytes:
    """A picture as a small file: without loss where that is smaller, as of masks.

    Args:
        square: uint8 [S, S, 3].
    """
    files = []
    for how in ({"lossless": True}, {"quality": _QUALITY}):
        file = io.BytesIO()
        PIL.Image.fromarray(square).save(file, "WEBP", method=6, **how)
        files.append(file.getvalue())
    return min(files, key=len)
