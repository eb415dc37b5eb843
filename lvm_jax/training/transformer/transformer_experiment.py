"""What decides a transformer's training."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from lvm_jax import configs, partition
from lvm_jax import mesh as mesh_lib
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.feeding.data_config import DataConfig, named_mixture
from lvm_jax.distributed.distributed_config import DistributedConfig
from lvm_jax.model.transformer_config import PRESETS, TransformerConfig
from lvm_jax.training import loop
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.transformer.ema import EmaConfig
from lvm_jax.training.transformer.skipping import SkipConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerExperiment:
    """Everything that decides a transformer's training, except where it is written.

    Attributes:
        seed: of the initialisation and the order of the data that are trained on.
        batch_size: rows of the global batch, over all devices and micro-batches.
        accumulation: micro-batches per update; more need less memory.
        loss_chunks: pieces of a row whose logits exist at a time; more need less memory.
        data: the shards and how rows are made of them.
        eval_data: held-out shards, or None for no evaluation.
        eval_batches: an evaluation takes each held-out row once, and at most as many rows as so
            many batches have; always the same ones, whatever the seed.
        init_from: start from the parameters of this training directory (its newest whole
            checkpoint) or model directory (`stored_params`), with steps, schedule and moments of
            its own. A run that goes on does not look there again. "" starts from random ones.
        init_ema: start from the average of parameters that the run of `init_from` kept.
        init_fresh: parameters that are random all the same, by name such as "head/kernel" or by the
            beginning of names such as "embedding".
        z_loss: weight of the squared logarithm of the softmax's normaliser, such as 1e-4: keeps
            logits from drifting; train/loss is without it. 0 adds none.
        ema: an average of the parameters.
        skip: bad updates that are left out rather than ending the run.
        model, optimizer, mesh, rules, loop, distributed: see their classes.
    """

    seed: int = 0
    batch_size: int
    accumulation: int = 1
    loss_chunks: int = 1
    data: DataConfig
    eval_data: DataConfig | None = None
    eval_batches: int = 8
    model: TransformerConfig
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    init_from: str = ""
    init_ema: bool = False
    init_fresh: tuple[str, ...] = ()
    z_loss: float = 0.0
    ema: EmaConfig = dataclasses.field(default_factory=EmaConfig)
    skip: SkipConfig = dataclasses.field(default_factory=SkipConfig)
    mesh: mesh_lib.MeshConfig = dataclasses.field(default_factory=mesh_lib.MeshConfig)
    rules: partition.Rules = dataclasses.field(default_factory=partition.Rules)
    loop: loop.LoopConfig
    distributed: DistributedConfig = dataclasses.field(default_factory=DistributedConfig)

    def __post_init__(self) -> None:
        counts = ("batch_size", "accumulation", "loss_chunks", "eval_batches")
        configs.require_at_least(self, 1, *counts)
        configs.require_at_least(self, 0, "z_loss")
        if not self.init_from and (self.init_ema or self.init_fresh):
            name = "init_ema" if self.init_ema else "init_fresh"
            raise ConfigError(
                *(Field(name), f"={getattr(self, name)} but there is no ", Field("init_from")),
                "; set it to a directory",
            )
        context = Field("data.context"), f"={self.data.context}"
        if self.data.context > self.model.context:
            raise ConfigError(
                *(*context, " exceeds ", Field("model.context"), f"={self.model.context}; "),
                "shorten the rows or raise the model's context",
            )
        if self.data.context % self.loss_chunks:
            raise ConfigError(
                *(Field("loss_chunks"), f"={self.loss_chunks} must divide ", *context)
            )


def build_experiment(values: Mapping[str, Any], name: str = "config") -> TransformerExperiment:
    """A mapping, such as an experiment file gives, -> a checked experiment.

    Args:
        values: fields of `TransformerExperiment`; values["model"] may name a "preset".
        name: what error messages call the mapping.

    Raises:
        ConfigError: an unknown key or a bad value, by name.
    """
    builders = {
        "model": functools.partial(configs.with_preset, PRESETS),
        "data": _data_section,
        "eval_data": _data_section,
    }
    return configs.build(TransformerExperiment, values, name, builders)


def _data_section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    if "accept_changed" in values:
        accept = Field(f"{name.rpartition('.')[0]}.loop.accept_changed_data")
        raise ConfigError(Field(f"{name}.accept_changed"), " is now ", accept, "; set that")
    return named_mixture(values, name)
