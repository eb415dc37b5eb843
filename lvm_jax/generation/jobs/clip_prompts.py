"""A clip that is to be continued -> the pictures of a prompt."""

import os
from collections.abc import Sequence

from lvm_jax import file_names, image_folders
from lvm_jax.frames import frame_readers
from lvm_jax.generation.jobs.job import Picture


def frames_of(source: str, max_pixels: int) -> list[Picture]:
    """All frames of a clip in order.

    Args:
        source: a video or animation, a folder of pictures, a pattern such as "clip/*.png", or
            pictures with commas between. Names are ordered as people count: 2.png before 10.png.
        max_pixels: files with larger frames are refused.

    Raises:
        ValueError: there is no such file, or it holds no frames; says which.
    """
    if os.path.isdir(source):
        inside = map(str, image_folders.list_images(source))
        return _pictures(sorted(inside, key=file_names.counted))
    if os.path.isfile(source):
        return frames_of_file(source, max_pixels)
    if "," in source:
        names = source.split(",")
    else:
        names = sorted(filter(os.path.isfile, file_names.expand(source)), key=file_names.counted)
    missing = [name for name in names if not os.path.isfile(name)]
    if missing or not names:
        raise ValueError(
            f"no file {(missing or [source])[0]}; give a video, a GIF, a folder, a pattern or "
            "pictures with commas between"
        )
    return _pictures(names)


def frames_of_file(path: str, max_pixels: int) -> list[Picture]:
    """All frames of a video or animation in order, or a picture alone; raises as `frames_of`."""
    if not frame_readers.holds_frames(path):
        return _pictures([path])
    number = frame_readers.count_frames(path, max_pixels)
    return [Picture(path=path, frame=frame) for frame in range(number)]


def frames_per_second(frames: list[Picture]) -> float | None:
    """How fast a clip is shown, as its file says; None if it does not."""
    if frames[0].frame < 0:
        return None
    return frame_readers.frames_per_second(frames[0].path)


def choose(
    frames: Sequence[Picture],
    num_frames: int | None,
    *,
    most: int,
    start: int | None = None,
    stride: int = 1,
) -> tuple[Picture, ...]:
    """The frames of a prompt.

    Args:
        frames: of the clip.
        num_frames: how many are taken; None takes those that there are, and not more than `most`.
        most: frames that the model has room for.
        start: the first one, from 0; None takes the last ones.
        stride: frames of the clip from one to the next.

    Raises:
        ValueError: the clip has not so many.
    """
    from_end = start is None
    there = frames[::-1][::stride] if start is None else frames[start::stride]
    chosen = there[: most if num_frames is None else num_frames]
    if len(chosen) < (num_frames or 1):
        begin = "" if from_end else f" from start={start} on"
        wanted = f"num_frames={num_frames}; ask for fewer" if num_frames else "one; begin earlier"
        raise ValueError(
            f"the clip's {len(frames)} frames give {len(there)} with stride={stride}{begin}, not "
            f"{wanted}"
        )
    return tuple(chosen[::-1] if from_end else chosen)


def _pictures(names: list[str]) -> list[Picture]:
    return [Picture(path=name) for name in names]
