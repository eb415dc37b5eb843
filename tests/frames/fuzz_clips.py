"""Alters small clips and reads them: each ends as frames, or as an error that names the file.

    python -m tests.frames.fuzz_clips --rounds=1000 --seed=0

Rounds are altered files of each format. Every frame that is counted must read. Prints how many were
read and how many refused, and stops with exit code 1 at the first that ends otherwise, which it
keeps; so does a crash of the process.
"""

import pathlib

import numpy as np

from lvm_jax import images
from lvm_jax.frames import frame_readers
from tests import fuzzing
from tests.frames.animation_files import Frame, gif, png, webp
from tests.frames.video_files import FILES, pictures, write_video
from tests.image_formats.fuzz_pictures import altered

MOST_PIXELS = 1 << 20
MOST_FRAMES = 200  # of a file that is read; a fault may make an index promise billions
VIDEOS = {
    "mp4": ("libx264", "yuv420p"),
    "mov": ("qtrle", "argb"),
    "mkv": ("ffv1", "yuv420p"),
    "webm": ("libvpx-vp9", "yuva420p"),
    "avi": ("mpeg4", "yuv420p"),
    "ts": ("mpeg2video", "yuv420p"),
    "flv": ("flv", "yuv420p"),
    "wmv": ("wmv2", "yuv420p"),
}


def animations() -> dict[str, list[bytes]]:
    """Frames that keep, clear and restore, in each format."""
    rng = np.random.default_rng(0)
    numbers = [rng.integers(0, 4, (10, 14), dtype=np.uint8) for _ in range(4)]
    drawn = [Frame(pixels=each, disposal=n, transparent=1) for n, each in enumerate(numbers)]
    colors = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    samples = [
        Frame(pixels=rng.integers(0, 256, (10, 14, 4)), disposal=n % 3, blending=n % 2)
        for n in range(4)
    ]
    soft = [
        Frame(pixels=each.pixels.astype(np.uint8), disposal=n % 2) for n, each in enumerate(samples)
    ]
    return {
        "gif": [gif((14, 10), colors, drawn)],
        "png": [
            png((14, 10), 8, 6, samples),
            png((14, 10), 8, 6, samples[1:], default=samples[0].pixels),
        ],
        "webp": [webp((14, 10), soft, has_alpha=has_alpha) for has_alpha in (False, True)],
    }


def valid_files(folder: pathlib.Path) -> dict[str, list[bytes]]:
    """Small whole files of each format, by extension."""
    made = animations()
    for extension, (codec, pixels) in VIDEOS.items():
        path = folder / f"whole.{extension}"
        write_video(path, pictures(8, 32, 32), codec, pixels=pixels)
        made[extension] = [path.read_bytes()]
        path.unlink()
    for path in sorted(FILES.iterdir()):
        made[path.suffix[1:]].append(path.read_bytes())
    return made


def outcome(path: pathlib.Path) -> str:
    """Reads every frame that is counted; "read" or "refused".

    Raises:
        AssertionError: a frame that is counted does not read, or what was raised names no file.
        Exception: anything else that is raised.
    """
    frame_readers.holds_frames(path)
    try:
        count = frame_readers.count_frames(path, MOST_PIXELS)
    except images.ImageError as error:
        assert str(path) in str(error) and "\n" not in str(error), error
        return "refused"
    readers = frame_readers.FrameReaders(MOST_PIXELS)
    for number in range(min(count, MOST_FRAMES)):
        try:
            picture = readers.read(str(path), number)
        except images.ImageError as error:
            assert f"more than {MOST_PIXELS}" in str(error), error
            return "refused"
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    if count <= MOST_FRAMES:
        try:
            readers.read(str(path), count)
        except images.ImageError as error:
            assert str(path) in str(error), error
        else:
            raise AssertionError(f"frame {count} of {count} reads")
    return "read"


if __name__ == "__main__":
    fuzzing.main(__doc__, valid_files, outcome, altered)
