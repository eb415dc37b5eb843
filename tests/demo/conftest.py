"""A small model behind a page, and files that people give to it."""

import numpy as np
import PIL.Image
import pytest

from lvm_jax.demo.answering import Answerer
from lvm_jax.demo.asking import Reader
from lvm_jax.images import ImageConfig


@pytest.fixture(scope="session")
def answerer(model, tokenizer):
    """Two candidates at a time, four images at most."""
    return Answerer(model, tokenizer, ImageConfig(), at_once=2)


@pytest.fixture(scope="session")
def reader(answerer):
    return Reader(answerer.reading, answerer.limits)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Name -> path: pictures a to d of 24 x 16 pixels, a text, and one of 20,000 pixels a side."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    for name in "abcd":
        coarse = rng.integers(0, 256, (2, 3, 3), dtype=np.uint8)
        PIL.Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(folder / f"{name}.png")
    (folder / "text.png").write_text("no picture")
    PIL.Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    return {path.stem: str(path) for path in folder.iterdir()}
