"""Clips: pictures in an order, as video files, animations or folders of numbered images."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures

from absl import logging

from lvm_jax import file_kinds, file_names, image_folders
from lvm_jax.frames import frame_readers
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences import files
from lvm_jax.sentences.listings import Listing
from lvm_jax.sentences.selection import Selection
from lvm_jax.sentences.squares import Square

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

    def show(self, frame: int, square: Square, annotates: str = "") -> ImageRef:
        """A square of frame `frame`, from 0; `annotates` as in `ImageRef`."""
        if self.in_one_file:
            return square.of(self.paths[0], frame, annotates)
        return square.of(self.paths[frame], annotates=annotates)


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


@dataclasses.dataclass(frozen=True)
class Clips(Listing):
    """Clips that are long enough.

    Attributes:
        fewest_frames: shorter ones are left out and named in the log.
    """

    fewest_frames: int

    def items(self, selection: Selection) -> tuple[Clip, ...]:
        """The clips, by key.

        Raises:
            ValueError: what `Listing.items` refuses, or all clips are too short.
        """
        makers = find_clips(selection.folder)
        return _long_enough(_make(makers, selection.keys(makers)), self.fewest_frames, selection)


@dataclasses.dataclass(frozen=True)
class AnnotatedClips(Listing):
    """Clips with the clips of their annotated frames: two folders, matched by relative name.

    Frames are matched too: images in folders by name, frames of files by number.

    Attributes:
        annotation_folder: the annotated frames.
        fewest_frames: see `Clips`.
    """

    annotation_folder: str
    fewest_frames: int

    @property
    def folders(self) -> Mapping[str, str]:
        return {"annotation_folder": self.annotation_folder}

    def items(self, selection: Selection) -> tuple[Clip, ...]:
        """The clips, each with its annotation, by key.

        Raises:
            ValueError: what `Clips.items` refuses, or clips or frames without a partner (named).
        """
        folders = selection.folder, self.annotation_folder
        makers, annotations = files.align([find_clips(folder) for folder in folders])
        keys = selection.keys(makers.keys() | annotations.keys())
        sides = {
            what: {key: f"clip {key} of {folder}" for key in known}
            for what, folder, known in zip(("clip", "annotation"), folders, (makers, annotations))
        }
        selection.require_partners(keys, sides, folders)
        clips, annotated = _make(makers, keys), _make(annotations, keys)
        joined = [self._joined(clip, other, selection) for clip, other in zip(clips, annotated)]
        return _long_enough(joined, self.fewest_frames, selection)

    def _joined(self, clip: Clip, annotation: Clip, selection: Selection) -> Clip:
        name = selection.name
        if not clip.in_one_file and not annotation.in_one_file:
            annotation = self._in_order_of(clip, annotation, selection)
        if clip.num_frames != annotation.num_frames:
            raise ValueError(
                f"{name}: clip {clip.key} has {clip.num_frames} frames in {selection.folder} but "
                f"{annotation.num_frames} in {self.annotation_folder}; make them equal or list it "
                f"in {name}.exclude"
            )
        return dataclasses.replace(clip, annotation=annotation)

    def _in_order_of(self, clip: Clip, annotation: Clip, selection: Selection) -> Clip:
        """The annotation with its images in the order of those of the same names."""
        names, others = _frame_names(clip), _frame_names(annotation)
        if sorted(names) != sorted(others):
            alone = sorted(set(names) ^ set(others), key=files.natural)
            where = f"{selection.name}: clip {clip.key}"
            some = files.listed(f"{where}: only in one", alone)
            raise ValueError(
                f"{where}: frames {some} are only in one of {selection.folder} and "
                f"{self.annotation_folder}; frames need the same names in both"
            )
        if names == others:
            return annotation
        # Accents that are composed in another way are sorted in another way.
        paths = dict(zip(others, annotation.paths))
        return dataclasses.replace(annotation, paths=tuple(paths[name] for name in names))


def _long_enough(clips: list[Clip], fewest: int, selection: Selection) -> tuple[Clip, ...]:
    short = [f"{c.key} ({c.num_frames})" for c in clips if c.num_frames < fewest]
    some = files.listed(f"{selection.name}: too short", short)
    if len(short) == len(clips):
        raise ValueError(
            f"{selection.name}: every clip in {selection.folder} has fewer than the {fewest} "
            f"frames that a sentence needs: {some}; take fewer frames or a smaller stride"
        )
    if short:
        logging.warning(
            "%s: %d of %d clips have fewer than %d frames and are left out: %s",
            *(selection.name, len(short), len(clips), fewest, some),
        )
    return tuple(clip for clip in clips if clip.num_frames >= fewest)
