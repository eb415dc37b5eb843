"""The transformer's training as a whole: an experiment, checked and handed to the loop."""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from lvm_jax import configs, devices, image_record, partition
from lvm_jax import mesh as mesh_lib
from lvm_jax.data.feeding.data_config import DataConfig, named_mixture
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.distributed.distributed_config import DistributedConfig
from lvm_jax.model import flops, transformer
from lvm_jax.model.transformer_config import PRESETS, TransformerConfig
from lvm_jax.training import durations, loop, repeats, speed
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.transformer import device_rows, next_token


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerExperiment:
    """Everything that decides a transformer's training, except where it is written.

    Attributes:
        seed: of the initialisation and the data order.
        batch_size: rows of the global batch, over all devices and micro-batches.
        accumulation: micro-batches per update; more need less memory.
        loss_chunks: pieces of a row whose logits exist at a time; more need less memory.
        data: the shards and how rows are made of them.
        eval_data: held-out shards, or None for no evaluation.
        eval_batches: an evaluation takes each held-out row once, and at most as many rows as so
            many batches have; always the same ones.
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
    mesh: mesh_lib.MeshConfig = dataclasses.field(default_factory=mesh_lib.MeshConfig)
    rules: partition.Rules = dataclasses.field(default_factory=partition.Rules)
    loop: loop.LoopConfig
    distributed: DistributedConfig = dataclasses.field(default_factory=DistributedConfig)

    def __post_init__(self):
        for name in ("batch_size", "accumulation", "loss_chunks", "eval_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"config.{name}={getattr(self, name)} must be at least 1")
        if self.data.context > self.model.context:
            raise ValueError(
                f"config.data.context={self.data.context} exceeds config.model.context="
                f"{self.model.context}; shorten the rows or raise the model's context"
            )
        if self.data.context % self.loss_chunks:
            raise ValueError(
                f"config.loss_chunks={self.loss_chunks} must divide config.data.context="
                f"{self.data.context}"
            )


def build_experiment(values: Mapping[str, Any], name: str = "config") -> TransformerExperiment:
    """A mapping, such as an experiment file gives, -> a checked experiment.

    Args:
        values: fields of `TransformerExperiment`; values["model"] may name a "preset".
        name: what error messages call the mapping.

    Raises:
        ValueError: an unknown key or a bad value, by name.
    """
    builders = {
        "model": functools.partial(configs.with_preset, PRESETS),
        "data": named_mixture,
        "eval_data": _build_eval_data,
    }
    return configs.build(TransformerExperiment, values, name, builders)


def _build_eval_data(values: Mapping[str, Any], name: str) -> DataConfig:
    return configs.build(DataConfig, named_mixture(values, name), name)


def train(experiment: TransformerExperiment, workdir: pathlib.Path) -> next_token.State | None:
    """Trains, or goes on training, in `workdir`.

    Args:
        experiment: what to train.
        workdir: the run's directory; see `checkpoints` for what is in it.

    Returns:
        The final state, or None when the run was finished before.

    Raises:
        ValueError: found before training: mesh, batch, data, vocabulary or workdir do not fit.
        stopping.RunError: training failed or was told to stop.
    """
    workdir = pathlib.Path(workdir)
    mesh = partition.make_mesh(
        experiment.mesh,
        experiment.rules,
        transformer.logical_axes(experiment.model),
        transformer.abstract_params(experiment.model),
        num_rows=experiment.batch_size,
        accumulation=experiment.accumulation,
    )
    source = _open_data(experiment.data, experiment, "data")
    held_out = _open_held_out(experiment)
    if held_out is not None:
        _require_one_tokenizer(source, held_out)
    experiment = _resolve(experiment, source)
    epochs = source.epochs(experiment.loop.num_steps)
    repeats.warn_if_unwatched(
        {f"the rows of {name}": number for name, number in epochs.items()},
        "config.eval_data",
        watched=experiment.eval_data is not None,
    )
    accept_changed = experiment.loop.accept_changed_data or experiment.data.accept_changed
    arguments = (experiment.model, experiment.optimizer, mesh, experiment.rules)
    chunks = experiment.loss_chunks
    return loop.run(
        dataclasses.replace(experiment.loop, accept_changed_data=accept_changed),
        workdir=workdir,
        resolved=resolved_config(experiment, source, held_out),
        init_state=next_token.make_init(*arguments, experiment.seed),
        train_step=next_token.make_step(
            *arguments, accumulation=experiment.accumulation, loss_chunks=chunks
        ),
        batches=lambda step: device_batches(source, step, experiment, mesh),
        work=_work(experiment),
        fixed=("kind", "model", "seed"),
        data=("data_dependencies",),
        # How a step is computed may change between two starts; what it computes may not.
        free=("model.remat", "model.attention", "model.scan"),
        accept_key="config.data.accept_changed",
        data_metrics=lambda step: {
            f"data/epochs/{name}": epochs for name, epochs in source.epochs(step).items()
        },
        evaluators=_evaluators(experiment, mesh, held_out),
        summary=_summary(experiment, mesh),
    )


def _open_data(config: DataConfig, experiment: TransformerExperiment, key: str) -> Pipeline:
    with configs.within(key, global_batch="batch_size"):
        source = Pipeline(
            config,
            seed=experiment.seed,
            global_batch=experiment.batch_size,
            allow_repeats=key == "eval_data",
        )
    wanted, found = experiment.model.vocabulary, source.vocabulary
    for field in ("num_codes", "num_special"):
        if getattr(wanted, field) != getattr(found, field):
            raise ValueError(
                f"config.model.vocabulary.{field}={getattr(wanted, field)} but the shards of "
                f"config.{key} ({source.parts[0].shards.directory}) have "
                f"{getattr(found, field)}; set the model's to theirs"
            )
    return source


def _open_held_out(experiment: TransformerExperiment) -> Pipeline | None:
    if experiment.eval_data is None:
        return None
    return _open_data(experiment.eval_data, experiment, "eval_data")


def _require_one_tokenizer(source: Pipeline, held_out: Pipeline) -> None:
    """The same ids of two tokenizers are other pictures: a loss on them would mean nothing."""
    one, other = source.tokenizer_fingerprint, held_out.tokenizer_fingerprint
    # Imported lines may not say whose ids they are.
    if one and other and one != other:
        raise ValueError(
            f"config.eval_data: the shards in {held_out.parts[0].shards.directory} are of "
            f"tokenizer {other[:16]}, those of config.data are of {one[:16]}; build both with one "
            "tokenizer"
        )


def _resolve(experiment: TransformerExperiment, source: Pipeline) -> TransformerExperiment:
    """Every duration in steps."""
    rates = durations.Rates(
        examples_per_step=experiment.batch_size,
        tokens_per_step=experiment.batch_size * experiment.data.context,
        examples_per_epoch=source.rows_per_epoch,
    )
    return durations.resolve_experiment(experiment, rates, ["optimizer"])


def resolved_config(
    experiment: TransformerExperiment, source: Pipeline, held_out: Pipeline | None = None
) -> dict[str, Any]:
    """What workdir/config.json holds."""
    images = image_record.agreed(
        {part.name: part.shards.images for part in source.parts}, "data.mixture"
    )
    return {
        "kind": "transformer",
        **configs.to_dict(experiment),
        "data_dependencies": source.dependencies(),
        "data_fingerprint": source.fingerprint,
        "eval_data_fingerprint": None if held_out is None else held_out.fingerprint,
        "tokenizer_fingerprint": source.tokenizer_fingerprint,
        **image_record.entry(images),
    }


def device_batches(
    source: Pipeline, start_step: int, experiment: TransformerExperiment, mesh: Mesh
) -> Iterator[next_token.Batch]:
    """Batches from `start_step` on, each process reading only the rows of its own devices.

    Yields:
        A dict of global arrays [batch_size, context], rows split over the mesh.
    """
    shape = (experiment.batch_size, experiment.data.context)
    own, place = device_rows.placement(mesh, experiment.rules, shape)
    for batch in source.iterate(start_step, rows=own):
        yield place(batch)


def _work(experiment: TransformerExperiment) -> speed.Work:
    tokens, context = experiment.batch_size * experiment.data.context, experiment.data.context
    peak = devices.device_peak(jax.devices()[0].device_kind)
    return speed.Work(
        unit="tokens",
        units_per_step=tokens,
        flops_per_step=tokens * flops.train_flops_per_token(experiment.model, context),
        peak_flops_per_device=None if peak is None else peak.flops,
        totals={"tokens_with_loss_seen": "tokens"},
    )


def _evaluators(
    experiment: TransformerExperiment, mesh: Mesh, source: Pipeline | None
) -> dict[str, loop.Evaluator]:
    if source is None:
        return {}
    sums = next_token.make_eval(
        experiment.model, mesh, experiment.rules, loss_chunks=experiment.loss_chunks
    )
    shape = (experiment.batch_size, experiment.eval_data.context)
    chosen = source.rows_once(experiment.eval_batches * experiment.batch_size)

    def evaluate(state):
        batches = device_rows.batches_once(source, chosen, shape, mesh, experiment.rules)
        totals = [jax.device_get(sums(state["params"], batch)) for batch in batches]
        loss, hits, tokens = (
            sum(float(total[key]) for total in totals) for key in ("loss", "hits", "tokens")
        )
        yield "loss", loss / max(tokens, 1)
        yield "perplexity", math.exp(min(loss / max(tokens, 1), 700))
        yield "accuracy", hits / max(tokens, 1)

    return {"held_out": evaluate}


def _summary(experiment: TransformerExperiment, mesh: Mesh) -> list[str]:
    abstract = transformer.abstract_params(experiment.model)
    axes = transformer.logical_axes(experiment.model)
    placed = partition.shardings(mesh, experiment.rules, axes, abstract)
    logging.debug("config: %s", json.dumps(configs.to_dict(experiment)))
    return [mesh_lib.summary(mesh), "parameters:\n" + partition.table(abstract, placed)]
