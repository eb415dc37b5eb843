"""Every kind of task asked of a model: folders of pairs, sources and episodes, answers, numbers."""

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.evaluation.asking import runner
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.asking.results import CEILING, COPY, MEAN, MODEL, NEAREST_PIXELS
from lvm_jax.evaluation.tasks import pair_folders, registry
from lvm_jax.evaluation.tasks.pair_folders import PairExamples
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from tests import toys

LOADER = SquareLoader(ImageConfig(), 16, 2**20)
CONFIG = AskingConfig(
    seeds=(0,),
    num_examples=2,
    num_answered=2,
    num_candidates=1,
    num_shown=1,
    score_truth=False,
    batch_size=2,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folders as of UVD-mini, and pairs of masks."""
    root = toys.write_uvd_mini(tmp_path_factory.mktemp("uvd_mini")) / "held_out"
    rng = np.random.default_rng(1)
    for name in "abc":
        mask = rng.integers(0, 2, (4, 4, 1)).astype(np.uint8).repeat(3, axis=2) * 255
        images.write_image(root / "masks" / "inputs" / f"{name}.png", 255 - mask)
        images.write_image(root / "masks" / "targets" / f"{name}.png", mask)
    return root


def sourced(root, kind, name, folder, annotations="", **more):
    values = {"kind": kind, "name": name, "folder": f"{root}/{folder}", **more}
    if annotations:
        values["annotation_folder"] = f"{root}/{annotations}"
    if kind != "video":
        values["pairs_per_sentence"] = 2
    return SentenceExamples(source=corpora.build_source(values, name), loader=LOADER)


@pytest.fixture(scope="module")
def evaluation(model, tokenizer, root):
    models = {"folder": "models/*/color"}
    asked = {
        "depth": sourced(root, "annotation", "depth", **models, annotations="models/*/depth"),
        "normals": sourced(root, "annotation", "normals", **models, annotations="models/*/normal"),
        "edges": sourced(root, "edges", "edges", "earth/satellite"),
        "colorization": sourced(root, "colorization", "colors", "emoji_3d"),
        "inpainting": sourced(root, "inpainting", "holes", "emoji_3d"),
        "frames": sourced(
            root, "video", "animation", "emoji_anim", frames_per_sentence=4, strides=(1,)
        ),
    }
    found = pair_folders.find(str(root / "masks"))
    for kind in ("segmentation", "foreground", "detection", "keypoints", "pixels"):
        asked[kind] = PairExamples(
            name=kind, pairs=found, support=found, num_pairs=1, loader=LOADER
        )
    tasks = [registry.build(kind, asked[kind], {}) for kind in registry.KINDS]
    return dict(zip(registry.KINDS, runner.evaluate(model, tokenizer, tasks, CONFIG).results))


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_metric_has_numbers_of_the_model_and_of_all_baselines(evaluation, kind):
    result = evaluation[kind]
    expected = registry.build(kind, PairExamples.__new__(PairExamples), {}).metrics
    assert [metric.metric for metric in result.metrics] == list(expected)
    for metric in result.metrics:
        assert {MODEL, CEILING, COPY, MEAN, NEAREST_PIXELS} <= set(metric.values)
        counts = {name: len(values[0]) for name, values in metric.values.items()}
        assert set(counts.values()) == {2 if metric.metric.per_example else 1}
        if kind != "keypoints":  # in noise there are no joints
            assert np.isfinite(metric.values[MODEL][0]).all(), metric.metric


def test_a_copy_of_the_last_frame_gains_nothing(evaluation):
    gain = next(m for m in evaluation["frames"].metrics if m.metric.name == "gain_over_copy")
    np.testing.assert_array_equal(gain.values[COPY][0], [0, 0])


def test_the_negative_of_a_mask_shares_but_its_outline_with_it(evaluation):
    iou = evaluation["foreground"].metrics[0]
    np.testing.assert_allclose(iou.values[COPY][0], [0, 0], atol=0.01)
