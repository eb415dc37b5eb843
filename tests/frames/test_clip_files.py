"""Clips that are written read back as they were, as near as their formats can."""

import sys

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.frames import clip_files, frame_readers, videos
from lvm_jax.measures import fidelity
from tests.frames.video_files import pictures


def read(path):
    return np.stack(
        [frame_readers.read_frame(path, i) for i in range(frame_readers.count_frames(path))]
    )


@pytest.mark.parametrize("extension", clip_files.EXTENSIONS)
def test_frames_come_back(tmp_path, extension):
    if extension != clip_files.GIF:
        pytest.importorskip("av")
    shown = pictures(5, 33, 48)  # an odd side, which videos repeat
    path = tmp_path / "new" / f"clip{extension}"
    clip_files.write_clip(path, shown, 12.5)
    written = read(path)
    assert written.shape[0] == 5 and written.shape[1] in (33, 34)
    assert fidelity.psnr(written[:, :33], np.stack(shown)).min() > 30
    assert frame_readers.frames_per_second(path) == pytest.approx(12.5, rel=1e-3)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_still_clip_and_a_fast_one(tmp_path):
    clip_files.write_clip(tmp_path / "one.gif", pictures(1), 8)
    assert len(read(tmp_path / "one.gif")) == 1
    clip_files.write_clip(tmp_path / "fast.gif", pictures(3), 1000)
    assert frame_readers.frames_per_second(tmp_path / "fast.gif") == 50


def test_what_cannot_be_written_is_said_before(tmp_path, monkeypatch):
    with pytest.raises(images.ImageError, match=r"clip.avi: unknown extension '.avi'; use .*\.mp4"):
        clip_files.check(tmp_path / "clip.avi")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"writing the video .*clip.mp4 needs PyAV; install"):
        clip_files.check(tmp_path / "clip.mp4")
    clip_files.check(tmp_path / "clip.gif")
    with pytest.raises(ValueError, match="reading the video a needs PyAV"):
        videos.import_av("a")
