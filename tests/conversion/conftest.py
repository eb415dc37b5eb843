"""What is left of a training whose checkpoints are exported; networks of transformers."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
import pytest

import convert_model
from lvm_jax import configs, image_record, partition
from lvm_jax import mesh as mesh_lib
from lvm_jax.images import ImageConfig
from lvm_jax.model import transformer
from lvm_jax.rules import Rules
from lvm_jax.training import checkpoints, workdir
from tests.conversion import llamas

STEPS = (2, 4, 6)


@pytest.fixture(scope="session")
def states(model):
    """Parameters and average of each step, on eight devices that share them."""
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(fsdp=4, tensor=2))
    axes = transformer.logical_axes(model.config)
    placed = partition.shardings(mesh, Rules(), axes, model.params)
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.standard_normal(leaf.shape, np.float32)
    make = lambda: jax.device_put(jax.tree.map(draw, model.params), placed)
    return {step: {"params": make(), "ema": make()} for step in STEPS}


@pytest.fixture(scope="session")
def trained(model, states, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    resolved = {
        "kind": "transformer",
        "model": {**configs.to_dict(model.config), "attention": "splash"},
        "tokenizer_fingerprint": model.tokenizer_fingerprint,
        **image_record.entry(ImageConfig(resize="squash")),
    }
    workdir.prepare_workdir(directory, workdir.RunIdentity(resolved=resolved, fixed=("model",)))
    writer = checkpoints.Checkpoints(directory, resolved, keep=len(STEPS))
    for step, state in states.items():
        writer.save(step, state)
    writer.wait(STEPS[-1], state)
    writer.close()
    return directory


@pytest.fixture(scope="session")
def hugging_face(tmp_path_factory) -> dict[str, pathlib.Path]:
    """Kind -> a folder that transformers would have written."""
    root = tmp_path_factory.mktemp("hugging_face")
    return {
        kind: llamas.write_hugging_face(root / kind, llamas.load(kind)) for kind in llamas.KINDS
    }


@pytest.fixture(scope="session")
def convert() -> Callable[..., pathlib.Path]:
    """convert(source, "hf", "easylm", out, dtype=...) runs the tool and gives `out`."""

    def run(source: pathlib.Path, given: str, to: str, out: pathlib.Path, **flags) -> pathlib.Path:
        options = convert_model.Options(
            source=str(source), source_format=given, to=to, out=str(out), **flags
        )
        convert_model.main(options)
        return out

    return run


@pytest.fixture(scope="session")
def own(tmp_path_factory, hugging_face, convert) -> dict[str, pathlib.Path]:
    """Kind -> a model directory of lvm_jax."""
    root = tmp_path_factory.mktemp("own")
    return {
        kind: convert(folder, "hf", "lvm_jax", root / kind, num_codes=llamas.NUM_CODES)
        for kind, folder in hugging_face.items()
    }
