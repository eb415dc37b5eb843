r"""Checks on the real machine that training computes what it should, before it is paid for.

  python tools/check_device.py                                          # all devices of this host
  python tools/check_device.py --config=experiments/lvm.py:size=3b      # with a model's head dim
  python tools/check_device.py --only=splash --json=check.json

A narrow copy of the model takes one update in many ways: with each attention backend, on packed and
on whole rows, in bfloat16, in micro-batches, on several meshes. Each is compared with one device in
float32: the loss, the gradients, parameter by parameter, and the update. The table says what
differs by more than rounding explains; the exit code is then 1. On several hosts, run it on all.
"""

import dataclasses
import sys
from typing import TYPE_CHECKING

import cli
from experiment_files import ExperimentFile
from lvm_jax import configs

if TYPE_CHECKING:
    from lvm_jax.model.transformer_config import TransformerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is checked.

    Attributes:
        config: an experiment of the transformer, whose model and processes are taken; default: the
            preset 1b, on this process's devices.
        only: cases whose name has this text.
        context: ids of a row; a multiple of 128, as kernels take them.
        rows_per_device: of the batch; even.
        json: also write the results to this file.
    """

    config: ExperimentFile | None = None
    only: str = ""
    context: int = 1024
    rows_per_device: int = 2
    json: str | None = None

    def __post_init__(self) -> None:
        configs.require_at_least(self, 8, "context")
        configs.require_at_least(self, 2, "rows_per_device")
        if self.rows_per_device % 2:
            raise configs.ConfigError(
                configs.Field("rows_per_device"),
                f"={self.rows_per_device} must be even: there are cases with two micro-batches",
            )


def main(options: Options) -> None:
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax.distributed import supervisor
    from lvm_jax.model.transformer_config import PRESETS
    from lvm_jax.training.transformer import transformer_experiment

    model = PRESETS["1b"]
    if options.config is not None:
        values = options.config.load()
        experiment = options.config.build(transformer_experiment.build_experiment, values)
        with configs.within("config.distributed"):
            supervisor.start_unsupervised(experiment.distributed)
        model = experiment.model
    if not _check(options, model):
        sys.exit(1)


def _check(options: Options, model: "TransformerConfig") -> bool:
    """Prints the table; whether nothing differs or fails."""
    import jax

    from lvm_jax import atomic
    from lvm_jax.training.transformer import device_check

    devices, is_first = jax.devices(), jax.process_index() == 0
    say = print if is_first else lambda line: None
    narrow = device_check.narrow(model, options.context)
    say(
        f"{len(devices)} x {devices[0].device_kind}, jax {jax.__version__}; {narrow.num_heads} "
        f"heads of {narrow.head_dim} ({narrow.kv_heads} for keys and values), rows of "
        f"{options.context} ids; relative errors against one device in float32"
    )
    say(device_check.HEADER)
    results = []
    for result in device_check.run(
        model,
        context=options.context,
        rows_per_device=options.rows_per_device,
        wanted=lambda case: options.only in case.name,
    ):
        results.append(result)
        say(str(result))
    if not results:
        raise configs.ConfigError(configs.Field("only"), f"={options.only!r} is in no case's name")
    counts = {
        verdict: sum(result.verdict == verdict for result in results)
        for verdict in ("ok", "differs", "refused", "failed")
    }
    say(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if options.json is not None and is_first:
        document = {
            "device": devices[0].device_kind,
            "num_devices": len(devices),
            "jax": jax.__version__,
            "context": options.context,
            "results": configs.plain(results),
        }
        atomic.write_json(options.json, document)
    return not counts["differs"] and not counts["failed"]


if __name__ == "__main__":
    cli.run(main)
