"""Bytes of picture files, read."""

import pytest

from lvm_jax import images
from lvm_jax.pictures import palette
from tests.image_formats.picture_files import BLUE


@pytest.fixture
def read(tmp_path):
    """Bytes of a file -> its pixels over blue."""

    def read_bytes(data):
        (tmp_path / "x").write_bytes(data)
        return images.read_image(tmp_path / "x", background=BLUE)

    return read_bytes


@pytest.fixture
def labels(tmp_path):
    """Bytes of a file -> its labels."""

    def read_bytes(data, num_labels=palette.MOST_LABELS, ignored=-1):
        (tmp_path / "x").write_bytes(data)
        return palette.read_labels(tmp_path / "x", num_labels, ignored)

    return read_bytes
