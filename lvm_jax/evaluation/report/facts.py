"""The facts at the end of a report: name -> value for each of its sections."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lvm_jax import configs, image_record, trees
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.images import ImageConfig
from lvm_jax.sentences.sources import Source
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.version import __version__

Facts = dict[str, Any]


def tiles(model: LanguageModel, seconds: Sequence[float]) -> tuple[tuple[str, str], ...]:
    """How large the model is, and how long both trainings took if that is known.

    Args:
        model: the transformer.
        seconds: of the tokenizer's training and the transformer's; 0 where unknown.

    Returns:
        (number, what it is) pairs.
    """
    size = (_abbreviated(trees.count_parameters(model.params)), "parameters in the transformer")
    if not all(seconds):
        return (size,)
    return size, (_duration(sum(seconds)), f"of training, both models, on {_devices()}")


def of_timings(seconds: Mapping[str, float], lines: Sequence[Mapping[str, Any]]) -> Facts:
    """How long everything took and on what.

    Args:
        seconds: what -> how long; 0 is left out.
        lines: of the transformer's metrics.jsonl.
    """
    facts: Facts = {name: _duration(value) for name, value in seconds.items() if value}
    rates = [
        value
        for line in lines
        for name, value in line.items()
        if name.startswith("perf/tokens_per_sec")
    ]
    if rates:
        facts["transformer speed"] = f"{np.median(rates):,.0f} ids/s per device"
    software = f"lvm_jax {__version__}, jax {jax.__version__}"
    return facts | {"devices": _devices(), "software": software}


def of_model(model: LanguageModel) -> Facts:
    """The transformer's size and geometry."""
    parameters = f"{trees.count_parameters(model.params):,}"
    return {"parameters": parameters, **_flat(configs.to_dict(model.config))}


def of_training(resolved: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Facts:
    """How the transformer was trained: the config of its workdir, and the lines of its metrics."""
    steps = max((line["step"] for line in lines), default=0)
    facts: Facts = {"steps": f"{steps:,}"} if steps else {}
    if "batch_size" in resolved:
        facts["rows per batch"] = resolved["batch_size"]
    return facts | _flat(resolved.get("optimizer", {}))


def of_tokenizer(tokenizer: Tokenizer) -> Facts:
    """The tokenizer's size and geometry."""
    return {
        "parameters": f"{trees.count_parameters(tokenizer.params):,}",
        "tokens per image": tokenizer.tokens_per_image,
        "fingerprint": tokenizer.fingerprint[:12],
        **_flat(configs.to_dict(tokenizer.config)),
    }


def of_manifest(manifest: Mapping[str, Any]) -> Facts:
    """What the numbers depend on; the names of all pictures are in the file alone."""
    inputs = {f"inputs of {name}": digest[:16] for name, digest in manifest["inputs"].items()}
    return {
        "hash": manifest["hash"],
        "model": f"{manifest['model']['name']} ({manifest['model']['fingerprint'][:16]})",
        "tokenizer": f"{manifest['tokenizer']['name']} "
        f"({manifest['tokenizer']['fingerprint'][:16]})",
        "seeds": ", ".join(map(str, manifest["seeds"])),
        **_flat(manifest["settings"]),
        **_flat(manifest["task"], "task."),
        **_flat(manifest["source"]),
        **inputs,
        **_flat(manifest["software"]),
    }


def of_evaluation(
    config: AskingConfig, image_config: ImageConfig, tasks: Sequence[Source]
) -> Facts:
    """What was asked, and of which pictures."""
    return {
        **_flat(configs.to_dict(config)),
        "pictures read with": image_record.describe(image_config),
        **{f"task {task.name}": _pictures(task) for task in tasks},
    }


def _pictures(task: Source) -> str:
    pictures = ", ".join(configs.first_few([picture.key for picture in task.items], 6))
    return f"{task.images_per_sentence // 2} pairs from {pictures}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Facts:
    flat: Facts = {}
    for key, value in values.items():
        if value == []:  # nothing was set
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            flat[prefix + key] = shown
    return flat


def _abbreviated(number: int) -> str:
    for size, unit in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def _devices() -> str:
    devices = jax.devices()
    kind = devices[0].device_kind
    return f"{len(devices)} x {kind}" if len(devices) > 1 or kind != "cpu" else "CPU"
