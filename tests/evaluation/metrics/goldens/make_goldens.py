"""Makes goldens.json: what other people's code measures on `real_pictures`.

    python -m tests.evaluation.metrics.goldens.make_goldens VISUAL_PROMPTING

Needs scikit-learn, torchmetrics, torchvision, opencv-python-headless, and a checkout of
https://github.com/amirbar/visual_prompting. Made with scikit-learn 1.9.1, torchmetrics 1.9.0, torch
2.14.1, scikit-image 0.26.0 and opencv 5.0.0; the checkout's commit is in the file.
"""

import argparse
import importlib.util
import json
import math
import pathlib
import subprocess
import sys
import types
from typing import Any

import numpy as np
import skimage.metrics
import sklearn.metrics
import torch
import torchmetrics.functional
import torchmetrics.functional.segmentation

from tests.evaluation.metrics import real_pictures
from tests.evaluation.metrics.goldens import FILE, shortened

NUM = real_pictures.NUM_LABELS


def segmentation() -> dict[str, Any]:
    answer, truth = (labels.ravel() for labels in real_pictures.labels())
    all_labels = list(range(NUM))
    jaccard = sklearn.metrics.jaccard_score(truth, answer, labels=all_labels, average=None)
    present = [label for label in all_labels if label in {*answer, *truth}]
    macro = sklearn.metrics.jaccard_score(truth, answer, labels=present, average="macro")
    tensors = (torch.tensor(labels)[None] for labels in real_pictures.labels())
    without = torchmetrics.functional.segmentation.mean_iou(
        *tensors, num_classes=NUM, include_background=False, input_format="index"
    )
    return {
        "confusion": sklearn.metrics.confusion_matrix(truth, answer, labels=all_labels).tolist(),
        "jaccard": jaccard.tolist(),
        "mean_jaccard": float(macro),
        "torchmetrics_without_background": float(without),
        "accuracy": float(sklearn.metrics.accuracy_score(truth, answer)),
    }


def depth() -> dict[str, float]:
    answer, truth = (depths.ravel() for depths in real_pictures.depths())
    ratio = np.maximum(answer / truth, truth / answer)
    return {
        "abs_rel": float(sklearn.metrics.mean_absolute_percentage_error(truth, answer)),
        "rmse": float(sklearn.metrics.root_mean_squared_error(truth, answer)),
        "log10": float(sklearn.metrics.mean_absolute_error(np.log10(truth), np.log10(answer))),
        **{f"delta{n}": float(np.mean(ratio < 1.25**n)) for n in (1, 2, 3)},
    }


def normals() -> dict[str, float]:
    answer, truth = (
        torch.tensor(real_pictures.photograph(name)).double().reshape(-1, 3) / 127.5 - 1
        for name in ("coffee", "astronaut")
    )
    seen = torch.tensor(real_pictures.photograph("astronaut").max(-1).ravel()) >= 27
    cosine = torchmetrics.functional.cosine_similarity(answer[seen], truth[seen], reduction="none")
    angles = np.degrees(np.arccos(cosine.numpy().clip(-1, 1)))
    within = {f"within_{limit:g}": float(np.mean(angles < limit)) for limit in (11.25, 22.5, 30)}
    return {
        "mean_angle": float(angles.mean()),
        "median_angle": float(np.median(angles)),
        **within,
    }


def color(code: types.SimpleNamespace) -> dict[str, float]:
    answer, truth = (real_pictures.photograph(name) for name in ("coffee", "astronaut"))
    mse = float(skimage.metrics.mean_squared_error(answer / 255, truth / 255))
    # Its function looks at the lower right of a canvas of four pictures.
    on_canvas = [np.pad(picture, ((113, 0), (113, 0), (0, 0))) for picture in (truth, answer)]
    imagenet = float(code.colorization.calculate_metric(None, *on_canvas)["mse"])
    return {"mse": mse, "lvm_mse": 3 * mse, "imagenet_mse": imagenet}


def visual_prompting(code: types.SimpleNamespace) -> dict[str, Any]:
    truth = np.where(real_pictures.mask("astronaut")[..., None], 255, 0).repeat(3, axis=2)
    scores: dict[str, Any] = {"segmentation": {}, "detection": {}}
    colors = [(255, 255, 255), (0, 0, 0)]
    target = code.reasoning.round_image(truth, colors)
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        answer = code.reasoning.round_image(real_pictures.photograph(name).astype(int), colors)
        for task, made in (("segmentation", answer), ("detection", answer.clone())):
            if task == "detection":
                made = code.boxes.to_rectangle(made, 0, 0)
            measured = code.segmentation._calc_metric(made.numpy(), target.numpy())
            scores[task][name] = {key: float(measured[key]) for key in ("iou", "accuracy")}
    return scores


def episodes(code: types.SimpleNamespace) -> dict[str, Any]:
    """Which pictures its data sets choose, of lists that are made up."""
    dataset = code.pascal.DatasetPASCAL
    pascal = dataset.__new__(dataset)
    pascal.img_metadata = [(name, label - 1) for name, label in real_pictures.fold_list()]
    pascal.nclass, pascal.random = 20, False
    pascal.img_metadata_classwise = pascal.build_img_metadata_classwise()
    np.random.seed(0)
    size = len(pascal.img_metadata)
    drawn = [pascal.sample_episode(index % size) for index in range(1000)]
    code.imagenet.ImageFolder = lambda folder: [(number, 0) for number in range(2345)]
    colors = code.imagenet.DatasetColorization("", lambda value: value, lambda value: value)
    colors.create_grid_from_images = lambda *pictures: None
    items = [colors[index] for index in range(1000)]
    return {
        "pascal": [[str(support), query, label + 1] for query, support, label, _ in drawn],
        "imagenet": [[int(item["support_img"]), int(item["query_img"])] for item in items],
    }


def load(checkout: pathlib.Path) -> types.SimpleNamespace:
    """The files of the checkout that measure, without the networks that one of them imports."""
    stand_in = types.ModuleType("evaluate.mae_utils")
    stand_in.__dict__.update(
        WHITE=(255, 255, 255),
        BLACK=(0, 0, 0),
        YELLOW=(0xFD, 0xE7, 0x25),
        PURPLE=(0x44, 0x01, 0x54),
        imagenet_mean=np.array([0.485, 0.456, 0.406]),
        imagenet_std=np.array([0.229, 0.224, 0.225]),
        np=np,
    )
    sys.modules["evaluate.mae_utils"] = sys.modules["mae_utils"] = stand_in
    sys.path.insert(0, str(checkout))

    def module(path: str) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, checkout / path)
        assert spec is not None and spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    return types.SimpleNamespace(
        segmentation=module("evaluate/segmentation_utils.py"),
        reasoning=module("evaluate/reasoning_dataloader.py"),
        boxes=module("evaluate_detection/box_ops.py"),
        colorization=module("evaluate/evaluate_colorization.py"),
        imagenet=module("evaluate/in_colorization_dataloader.py"),
        pascal=module("evaluate/pascal_dataloader.py"),
    )


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("visual_prompting", type=pathlib.Path)
    checkout = parser.parse_args().visual_prompting.resolve()
    code = load(checkout)
    commit = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    content = {
        "visual_prompting_commit": commit,
        "segmentation": segmentation(),
        "depth": depth(),
        "normals": normals(),
        "color": color(code),
        "visual_prompting": visual_prompting(code),
        "episodes": {name: shortened(drawn) for name, drawn in episodes(code).items()},
    }
    FILE.write_text(json.dumps(without_nan(content), indent=1) + "\n")


if __name__ == "__main__":
    main()
