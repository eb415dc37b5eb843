"""A job is plain data, and is refused where it makes no sense."""

import pytest

from lvm_jax import configs
from lvm_jax.generation.jobs.job import Job


def test_a_file_could_fill_it(make_job):
    job = make_job("a.png", 0, 1, 2, layout="analogy", images_per_example=2, form="sheet", seed=4)
    assert configs.build(Job, configs.to_dict(job)) == job


@pytest.mark.parametrize(
    ("numbers", "more", "message"),
    [
        ((), {}, "a job: a prompt needs at least one image"),
        ((0, 1), {"layout": "analogy"}, "odd number of images, not 2; .*layout=sequence"),
        ((0,), {"targets": (1, 2)}, "2 targets for 1 new images"),
        ((0,), {"scale": 0}, "scale=0 must be at least 1"),
        ((0,), {"frames_per_second": float("nan")}, "frames_per_second=nan must be above 0"),
    ],
)
def test_bad_jobs_are_refused(make_job, numbers, more, message):
    with pytest.raises(ValueError, match=message):
        make_job("a.png", *numbers, **more)
