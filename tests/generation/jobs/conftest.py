"""Picture files for jobs, and what is asked of them."""

import pytest

from lvm_jax import images
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.jobs.job import Drawing, Job, Picture


@pytest.fixture(scope="session")
def files(pictures, tmp_path_factory):
    """Paths of six pictures, 16 pixels a side."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(pictures):
        images.write_image(folder / f"{number}.png", picture)
    return [str(folder / f"{number}.png") for number in range(len(pictures))]


@pytest.fixture
def make_job(files, tmp_path):
    """make_job("a.png", 0, 1, form="grid", num_new_images=2, targets=[3]): files by number."""

    def make(output, *numbers, targets=(), where="a job", layout="sequence", **more):
        drawn = {key: more.pop(key) for key in list(more) if key in Drawing.__dataclass_fields__}
        return Job(
            images=tuple(Picture(path=files[number]) for number in numbers),
            targets=tuple(Picture(path=files[number]) for number in targets),
            output=str(tmp_path / output),
            layout=layout,
            answer=AnswerConfig(**{"batch_size": 4, **more}),
            reading=images.ImageConfig(),
            drawing=Drawing(**drawn),
            where=where,
        )

    return make
