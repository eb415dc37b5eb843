"""Files of results: one for each finished training, and one for each later evaluation of it.

    {"kind": "run" | "context" | "prompts", "run": NAME,
     "config": {"size", "mixture", "c", "seed", "width", "layers", "peak_lr", "parameters",
                "matrix_parameters", "steps", "ids" (padding included), "ids_with_loss",
                "epochs", "flops", "tokenizer", "data", "held_out_data"},
     "training": {"ids": [...], "loss": [...]}, about a hundred means over equal numbers of steps,
     "held_out": {"loss": NATS, "perplexity", "accuracy", "loss_by_kind": {KIND: NATS}, ...},
     "evaluations": {TASK: {"perplexity": [mean, error], "nll": [mean, error],
                            "nll_of_prompts": [...], "things": [...], "prompts", "inputs"}},
     "hardware", "software", "seconds"}

of a run; its four tasks are asked with five pairs of examples. A file of kind "context" has
"evaluations": {TASK: {"by_length": {NUMBER: {"perplexity", "nll", "gain"}}, ...}}, see `measure`;
one of kind "prompts" what `prompts` gives. The reports are made from these files alone.
"""

import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from lvm_jax import atomic
from lvm_jax.version import __version__
from studies.plan import Job

Results = dict[str, Any]
NUM_POINTS = 100


def path(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Where the results of a job are."""
    return folder / f"{name}.json"


def read(folder: pathlib.Path) -> dict[str, Results]:
    """Name -> results of every file in a folder that is one of a job.

    Raises:
        ValueError: a file that is no JSON; named.
    """
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            Job.of(file.stem)
        except ValueError:
            continue  # what the study writes beside them
        try:
            found[file.stem] = json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(f"{file} is no JSON ({error}); remove it to measure again") from error
    return found


def write(folder: pathlib.Path, name: str, results: Results) -> None:
    """Keeps the results of a job, a line for each of its sections."""
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(results[key])}" for key in results)
    atomic.write_text(path(folder, name), f"{{\n{lines}\n}}\n", parents=True)


def of_training(lines: Sequence[Mapping[str, Any]]) -> Results:
    """The sections "training" and "held_out", and seconds, from the lines of metrics.jsonl.

    Raises:
        ValueError: the training has not ended with an evaluation.
    """
    from lvm_jax.training import metrics

    trained = [line for line in lines if "train/loss" in line]
    evaluated = [line for line in lines if metrics.is_evaluation(line)]
    if not trained or not evaluated or evaluated[-1]["step"] < trained[-1]["step"]:
        raise ValueError("its training has no held-out loss yet; start it again to end it")
    prefix = "eval/held_out/"
    last = {key.removeprefix(prefix): v for key, v in evaluated[-1].items() if prefix in key}
    held_out: Results = {key: _short(v) for key, v in last.items() if "/" not in key}
    for group in ("loss_by_kind", "loss_by_image"):
        own = {key.partition("/")[2]: _short(v) for key, v in last.items() if group in key}
        held_out |= {group: own} if own else {}
    return {
        "training": _thinned(trained),
        "held_out": held_out,
        "seconds": {"training": round(metrics.training_seconds(lines), 1)},
    }


def _thinned(trained: Sequence[Mapping[str, Any]]) -> Results:
    size = -(-len(trained) // NUM_POINTS)
    parts = [trained[start : start + size] for start in range(0, len(trained), size)]
    mean = lambda part: sum(line["train/loss"] for line in part) / len(part)
    return {
        "ids": [part[-1]["train/tokens_with_loss_seen"] for part in parts],
        "loss": [_short(mean(part)) for part in parts],
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def surroundings() -> Results:
    """The sections "hardware" and "software" of this process."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = jax.devices()[0]
    return {
        "hardware": {
            "device": device.device_kind,
            "devices": len(jax.devices()),
            "cpu": _processor(),
            "cores": cores,
        },
        "software": {
            "lvm_jax": __version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
        },
    }


def _processor() -> str:
    """The name of the processor, where the system tells."""
    file = pathlib.Path("/proc/cpuinfo")
    names = [] if not file.exists() else file.read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in names if line.startswith("model name"))
    return next(named, platform.machine())
