"""Pictures for prompts."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def pictures():
    """uint8 [6, 16, 16, 3]."""
    return np.random.default_rng(2).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
