"""Which frames of a clip a prompt is made of."""

import pytest

from lvm_jax.frames import clip_files
from lvm_jax.generation.jobs import clip_prompts
from lvm_jax.generation.jobs.job import Picture
from lvm_jax.images import MOST_PIXELS
from tests.frames.video_files import pictures


def numbers(frames):
    return [frame.frame for frame in frames]


FRAMES = [Picture(path="clip.mp4", frame=number) for number in range(10)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"num_frames": 3}, [7, 8, 9]),
        ({"num_frames": 3, "stride": 4}, [1, 5, 9]),
        ({"num_frames": 3, "start": 2, "stride": 2}, [2, 4, 6]),
        ({"num_frames": None}, [5, 6, 7, 8, 9]),
        ({"num_frames": None, "start": 1, "stride": 6}, [1, 7]),
        ({"num_frames": 7, "start": 3}, [3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_the_last_frames_or_those_from_a_start(asked, expected):
    assert numbers(clip_prompts.choose(FRAMES, most=5, **asked)) == expected


@pytest.mark.parametrize("asked", [{"num_frames": 4, "stride": 4}, {"num_frames": 1, "start": 10}])
def test_too_few_frames_are_said(asked):
    with pytest.raises(ValueError, match=r"10 frames give \d with stride=\d.* not num_frames=\d"):
        clip_prompts.choose(FRAMES, most=5, **asked)


def test_folders_patterns_lists_and_clips(tmp_path):
    for number in (10, 9, 1):
        (tmp_path / f"{number}.png").write_bytes(b"")
    names = [str(tmp_path / f"{number}.png") for number in (1, 9, 10)]
    for source in (str(tmp_path), f"{tmp_path}/*.png", ",".join(names)):
        frames = clip_prompts.frames_of(source, MOST_PIXELS)
        assert [frame.path for frame in frames] == names, source
        assert clip_prompts.frames_per_second(frames) is None
    clip_files.write_clip(tmp_path / "a.gif", pictures(3), 4)
    frames = clip_prompts.frames_of(str(tmp_path / "a.gif"), MOST_PIXELS)
    assert numbers(frames) == [0, 1, 2] and clip_prompts.frames_per_second(frames) == 4
    for source in ("nowhere.mp4", f"{names[0]},nowhere.png", f"{tmp_path}/*.mp4"):
        with pytest.raises(ValueError, match=r"no file .*(nowhere|\*).*; give a video, a GIF"):
            clip_prompts.frames_of(source, MOST_PIXELS)
