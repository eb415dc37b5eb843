"""Clips: pictures in an order, as video files, animations or folders of numbered images.

Paper: Bai et al. 2023, section 3.1: 16 frames of a video at strides of 10, 20 or 30; the views
around an object; frames with their annotations.
"""

import dataclasses
import functools
import itertools
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from typing import Any, Literal

from absl import logging

from lvm_jax import file_kinds, file_names, image_folders
from lvm_jax.draws import Draws
from lvm_jax.frames import frame_readers
from lvm_jax.pictures.reference import Crop, ImageRef
from lvm_jax.sentences import files
from lvm_jax.sentences.sources import Source

_COUNTING_THREADS = min(8, os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames in order.

    Attributes:
        key: name relative to the source's folder, without extension.
        paths: the frames' files in order, or the one file that holds all frames.
        num_frames: how many there are.
        in_one_file: whether one file holds all of them.
        annotation: the same frames, annotated.
    """

    key: str
    paths: tuple[str, ...]
    num_frames: int
    in_one_file: bool = False
    annotation: "Clip | None" = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is made of."""
        return self.paths + (self.annotation.paths if self.annotation else ())

    def ref(self, frame: int, crop: Crop | None, flip: bool) -> ImageRef:
        """Frame `frame`, from 0."""
        if self.in_one_file:
            return ImageRef(path=self.paths[0], frame=frame, crop=crop, flip=flip)
        return ImageRef(path=self.paths[frame], crop=crop, flip=flip)


def find_clips(folder: str) -> dict[str, Callable[[], Clip]]:
    """Key -> what makes the clip, of every clip below a folder.

    A folder that holds images directly is a clip of them in natural order (frame_2 before
    frame_10); every video or animation is a clip. The frames of a file are counted when its clip
    is made, which decodes it.

    Raises:
        ValueError: no such folder, no clip in it, or two clips of one key.
    """
    taken: dict[str, pathlib.Path] = {}
    makers: dict[str, Callable[[], Clip]] = {}
    for prefix, root in files.roots(folder):
        stills: dict[pathlib.Path, list[pathlib.Path]] = {}
        for path in image_folders.list_files(root, _is_picture_or_video)[0]:
            if frame_readers.holds_frames(path):
                key = files.key_of(path, prefix, root)
                files.require_unique(taken, key, path, folder)
                makers[key] = functools.partial(_file_clip, key, path)
            else:
                stills.setdefault(path.parent, []).append(path)
        for parent, paths in stills.items():
            inside = parent.relative_to(root).as_posix()
            key = prefix + inside if inside != "." else prefix.rstrip("/") or root.name
            files.require_unique(taken, key, parent, folder)
            makers[key] = functools.partial(_folder_clip, key, paths)
    if not makers:
        raise ValueError(
            f"folder {folder} holds no clips: neither folders of numbered images nor animations "
            f"nor videos ({' '.join(sorted(file_kinds.VIDEO_EXTENSIONS))})"
        )
    return dict(sorted(makers.items()))


def _is_picture_or_video(path: pathlib.Path) -> bool:
    return file_kinds.is_image(path) or file_kinds.is_video(path)


def _file_clip(key: str, path: pathlib.Path) -> Clip:
    num_frames = frame_readers.count_frames(path)
    return Clip(key=key, paths=(path.as_posix(),), num_frames=num_frames, in_one_file=True)


def _folder_clip(key: str, paths: Iterable[pathlib.Path]) -> Clip:
    ordered = sorted(paths, key=lambda path: files.natural(path.name))
    return Clip(key=key, paths=tuple(path.as_posix() for path in ordered), num_frames=len(ordered))


def _frame_names(clip: Clip) -> list[str]:
    """What the images of a clip in a folder are called."""
    names = [pathlib.PurePath(path).name for path in clip.paths]
    return [file_names.canonical(file_kinds.without_extension(name)) for name in names]


def _make(makers: Mapping[str, Callable[[], Clip]], keys: Iterable[str]) -> list[Clip]:
    keys, made = list(keys), []
    # Counting decodes, for which Python's lock is released.
    with futures.ThreadPoolExecutor(_COUNTING_THREADS) as pool:
        for clip in pool.map(lambda key: makers[key](), keys):
            made.append(clip)
            logging.log_every_n_seconds(
                logging.INFO, "%d of %d clips have their frames counted", 30, len(made), len(keys)
            )
    return made


def _check_strides(name: str, strides: Sequence[int]) -> None:
    if not strides or min(strides) < 1:
        raise ValueError(f"{name}.strides={strides} must be one or more positive numbers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clips(Source):
    """What sources of clips share."""

    @functools.cached_property
    def items(self) -> tuple[Clip, ...]:
        """The clips that are long enough, sorted by key.

        Raises:
            ValueError: no folder, no clip, a pattern without a match, or all clips too short.
        """
        return self._long_enough(self._find())

    @property
    def fewest_frames(self) -> int:
        """Shorter clips are left out."""
        return 2

    def _find(self) -> list[Clip]:
        makers = find_clips(self.folder)
        return _make(makers, self._select(makers))

    def _long_enough(self, clips: list[Clip]) -> tuple[Clip, ...]:
        short = [f"{c.key} ({c.num_frames})" for c in clips if c.num_frames < self.fewest_frames]
        some = files.listed(f"{self.name}: too short", short)
        if len(short) == len(clips):
            raise ValueError(
                f"{self.name}: every clip in {self.folder} has fewer than the "
                f"{self.fewest_frames} frames that a sentence needs: {some}; take "
                "fewer frames or a smaller stride"
            )
        if short:
            logging.warning(
                "%s: %d of %d clips have fewer than %d frames and are left out: %s",
                self.name,
                len(short),
                len(clips),
                self.fewest_frames,
                some,
            )
        return tuple(clip for clip in clips if clip.num_frames >= self.fewest_frames)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Videos(Clips):
    """Frames of a video at a stride that is drawn for each sentence.

    A clip that is too short for the stride drawn takes the largest stride that fits it; one that is
    too short for all of them is left out and named in the log.

    Attributes:
        frames_per_sentence: 16 in the paper.
        strides: in frames; 10, 20 and 30 in the paper.
    """

    kind: Literal["video"] = "video"
    frames_per_sentence: int = 16
    strides: tuple[int, ...] = (10, 20, 30)

    def __post_init__(self):
        super().__post_init__()
        if self.frames_per_sentence < 1:
            raise ValueError(
                f"{self.name}.frames_per_sentence={self.frames_per_sentence} must be at least 1"
            )
        _check_strides(self.name, self.strides)

    @property
    def images_per_sentence(self) -> int:
        return self.frames_per_sentence

    @property
    def fewest_frames(self) -> int:
        return self._span(min(self.strides))

    def _span(self, stride: int) -> int:
        return (self.frames_per_sentence - 1) * stride + 1

    def _frames(self, clip: Clip, draws: Draws) -> range:
        stride = self.strides[draws.integer(len(self.strides))]
        if self._span(stride) > clip.num_frames:
            stride = max(s for s in self.strides if self._span(s) <= clip.num_frames)
        start = draws.integer(clip.num_frames - self._span(stride) + 1)
        return range(start, start + self._span(stride), stride)

    def _images(
        self, item: Clip, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        del theme
        return [item.ref(frame, crop, flip) for frame in self._frames(item, draws)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnotatedVideos(Videos):
    """Frames with their annotations: two folders of clips, matched by relative name.

    Frames are matched too: images in folders by name, frames of files by number.

    Attributes:
        annotation_folder: the annotated frames.
        frames_per_sentence: frames, each of which comes with its annotation.
        layout: "interleaved" f1 a1 f2 a2 ..., "split" f1 f2 ... a1 a2 ..., "mixed" (a coin for
            every sentence).
    """

    kind: Literal["annotated_video"] = "annotated_video"
    annotation_folder: str
    frames_per_sentence: int = 8
    layout: Literal["interleaved", "split", "mixed"] = "mixed"

    @property
    def _folders(self) -> Mapping[str, str]:
        return {"folder": self.folder, "annotation_folder": self.annotation_folder}

    @property
    def images_per_sentence(self) -> int:
        return 2 * self.frames_per_sentence

    def _find(self) -> list[Clip]:
        makers, annotations = files.align(
            [find_clips(self.folder), find_clips(self.annotation_folder)]
        )
        keys = self._select(makers.keys() | annotations.keys())
        sides = {
            "clip": (self.folder, {key: f"clip {key} of {self.folder}" for key in makers}),
            "annotation": (
                self.annotation_folder,
                {key: f"clip {key} of {self.annotation_folder}" for key in annotations},
            ),
        }
        files.require_partners(self.name, keys, sides)
        found, annotated = _make(makers, keys), _make(annotations, keys)
        return [self._joined(clip, other) for clip, other in zip(found, annotated)]

    def _joined(self, clip: Clip, annotation: Clip) -> Clip:
        if not clip.in_one_file and not annotation.in_one_file:
            annotation = self._in_order_of(clip, annotation)
        if clip.num_frames != annotation.num_frames:
            raise ValueError(
                f"{self.name}: clip {clip.key} has {clip.num_frames} frames in {self.folder} but "
                f"{annotation.num_frames} in {self.annotation_folder}; make them equal or list it "
                f"in {self.name}.exclude"
            )
        return dataclasses.replace(clip, annotation=annotation)

    def _in_order_of(self, clip: Clip, annotation: Clip) -> Clip:
        """The annotation with its images in the order of those of the same names."""
        names, others = _frame_names(clip), _frame_names(annotation)
        if sorted(names) != sorted(others):
            alone = sorted(set(names) ^ set(others), key=files.natural)
            some = files.listed(f"{self.name}: clip {clip.key}: only in one", alone)
            raise ValueError(
                f"{self.name}: clip {clip.key}: frames {some} are only in one of "
                f"{self.folder} and {self.annotation_folder}; frames need the same names in both"
            )
        if names == others:
            return annotation
        # Accents that are composed in another way are sorted in another way.
        paths = dict(zip(others, annotation.paths))
        return dataclasses.replace(annotation, paths=tuple(paths[name] for name in names))

    def _theme(self, draws: Draws) -> str:
        if self.layout == "mixed":
            return "split" if draws.coin() else "interleaved"
        return self.layout

    def _images(
        self, item: Clip, crop: Crop | None, flip: bool, draws: Draws, theme: str
    ) -> list[ImageRef]:
        chosen = self._frames(item, draws)
        shown = [item.ref(frame, crop, flip) for frame in chosen]
        annotated = [
            dataclasses.replace(item.annotation.ref(frame, crop, flip), annotates=picture.path)
            for frame, picture in zip(chosen, shown)
        ]
        if theme == "split":
            return shown + annotated
        return list(itertools.chain.from_iterable(zip(shown, annotated)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiView(Clips):
    """Views of an object around a full turn, from a view and in a direction that are drawn.

    The views of an object are the images of one folder, in natural order; after the last comes the
    first. (An arc that does not close is a video.)

    Attributes:
        views_per_sentence: views in a sentence, or as many as there are.
        strides: steps from view to view; one is drawn for each sentence.
    """

    kind: Literal["multiview"] = "multiview"
    views_per_sentence: int = 16
    strides: tuple[int, ...] = (1,)

    def __post_init__(self):
        super().__post_init__()
        if self.views_per_sentence < 2:
            raise ValueError(
                f"{self.name}.views_per_sentence={self.views_per_sentence} must be at least 2"
            )
        _check_strides(self.name, self.strides)

    @property
    def images_per_sentence(self) -> int:
        return min(self.views_per_sentence, max(clip.num_frames for clip in self.items))

    @property
    def fewest_images(self) -> int:
        return min(self.views_per_sentence, min(clip.num_frames for clip in self.items))

    def _images(
        self, item: Clip, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        del theme
        size = item.num_frames
        stride = self.strides[draws.integer(len(self.strides))]
        start, step = draws.integer(size), -stride if draws.coin() else stride
        # No view comes twice.
        number = min(self.views_per_sentence, size // math.gcd(size, stride))
        return [item.ref((start + i * step) % size, crop, flip) for i in range(number)]
