"""Every form writes the files that it names, with the right pictures in them.

Legend: n images of a prompt, C candidates, M new images, K targets.
"""

import numpy as np
import pytest

from lvm_jax import images, sheets
from lvm_jax.frames import frame_readers
from lvm_jax.generation.jobs import outputs

RANDOM = np.random.default_rng(5)
SHOWN = outputs.Answered(
    prompt=RANDOM.integers(0, 256, (2, 16, 20, 3), np.uint8),
    answers=RANDOM.integers(0, 256, (3, 2, 16, 20, 3), np.uint8),
    truth=RANDOM.integers(0, 256, (1, 16, 20, 3), np.uint8),
    psnr=np.array([[9.0], [12.25], [10.0]]),
)


def written(job):
    """Name -> path, in order, of all that a job writes."""
    made = outputs.files(job, SHOWN)
    assert list(made) == outputs.paths(job)
    for path, write in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    return {path.relative_to(job.path.parent).as_posix(): path for path in made}


def job_of(make_job, output, **more):
    return make_job(output, 0, 1, num_new_images=2, num_candidates=3, **more)


def test_a_grid_has_a_row_for_each_candidate(make_job):
    for include in (False, True):
        files = written(job_of(make_job, "a.png", include_input=include))
        rows = [[*SHOWN.prompt, *row] if include else row for row in SHOWN.answers]
        np.testing.assert_array_equal(images.read_image(files["a.png"]), sheets.grid(rows))


def test_a_sheet_is_one_picture(make_job):
    files = written(job_of(make_job, "a.png", form="sheet", scale=1))
    page = images.read_image(files["a.png"])
    windows = np.lib.stride_tricks.sliding_window_view(page, (16, 20, 3))[..., 0, :, :, :]
    for image in (*SHOWN.prompt, *SHOWN.answers.reshape(6, 16, 20, 3), *SHOWN.truth):
        assert (windows == image).all((-3, -2, -1)).sum() == 1


def test_files_are_named_by_candidate_and_image(make_job):
    files = written(job_of(make_job, "a.png", form="files", include_input=True))
    drawn = [f"a_candidate{c}_image{i}.png" for c in (1, 2, 3) for i in (1, 2)]
    assert list(files) == [*drawn, "a_input1.png", "a_input2.png"]
    np.testing.assert_array_equal(
        images.read_image(files["a_candidate3_image1.png"]), SHOWN.answers[2, 0]
    )
    np.testing.assert_array_equal(images.read_image(files["a_input2.png"]), SHOWN.prompt[1])
    many = make_job("a.png", 0, form="files", num_candidates=10)
    assert outputs.paths(many)[1].name == "a_candidate02_image1.png"


def test_a_folder_of_frames_or_one_for_each_candidate(make_job):
    files = written(job_of(make_job, "clip", form="clip", include_input=True, scale=2))
    assert list(files)[:5] == [f"clip/candidate1/0000{i}.png" for i in (1, 2, 3, 4)] + [
        "clip/candidate2/00001.png"
    ]
    np.testing.assert_array_equal(
        images.read_image(files["clip/candidate2/00003.png"]),
        sheets.enlarge(SHOWN.answers[1, 0], 2),
    )
    alone = make_job("clip", 0, form="clip", num_new_images=1)
    assert [path.name for path in outputs.paths(alone)] == ["00001.png"]


def test_a_clip_for_each_candidate(make_job):
    files = written(job_of(make_job, "a.gif", form="clip", include_input=True))
    assert list(files) == [f"a_candidate{c}.gif" for c in (1, 2, 3)]
    assert frame_readers.count_frames(files["a_candidate2.gif"]) == 4


@pytest.mark.parametrize(
    ("output", "form", "message"),
    [
        ("a.xyz", "grid", "a job: .*unknown extension '.xyz'"),
        ("a.png", "clip", "a job: .*a.png: unknown extension '.png'.* or none for a folder"),
    ],
)
def test_unknown_formats_are_refused(make_job, output, form, message):
    with pytest.raises(ValueError, match=message):
        outputs.check(make_job(output, 0, form=form))
