"""The transformer's training as a whole: an experiment, checked and handed to the loop."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from lvm_jax import configs, devices, draws, image_record, partition
from lvm_jax import mesh as mesh_lib
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.model import flops, transformer
from lvm_jax.model.attention import backends
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.storage import paths
from lvm_jax.training import compilation_cache, durations, loop, repeats, speed
from lvm_jax.training.group_sums import GroupSums
from lvm_jax.training.training import Evaluator, Training
from lvm_jax.training.transformer import breakdown as breakdown_lib
from lvm_jax.training.transformer import device_rows, next_token, starting_weights
from lvm_jax.training.transformer.batch import Batch, abstract_batch
from lvm_jax.training.transformer.breakdown import NOTHING_APART, Breakdown
from lvm_jax.training.transformer.starting_weights import StartingWeights
from lvm_jax.training.transformer.state import State, make_init, make_init_from
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment
from lvm_jax.training.workdir import RunIdentity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A training that can begin: all that it needs was checked and opened.

    Attributes:
        experiment: with durations in steps.
        mesh: of its devices.
        source: of its rows.
        identity: which run it is.
        training: with its data.
    """

    experiment: TransformerExperiment
    mesh: Mesh
    source: Pipeline
    identity: RunIdentity
    training: Training


def train(experiment: TransformerExperiment, workdir: pathlib.Path) -> State | None:
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
    workdir = paths.path(workdir)
    compilation_cache.use(experiment.loop.compilation_cache)
    prepared = prepare(experiment, workdir)
    logging.debug("config: %s", json.dumps(configs.to_dict(prepared.experiment)))
    loop_config = prepared.experiment.loop
    return loop.run(loop_config, workdir, prepared.identity, prepared.training)


def prepare(
    experiment: TransformerExperiment,
    workdir: pathlib.Path,
    devices: Sequence[jax.Device] | None = None,
) -> Prepared:
    """All that comes before the first step.

    Args:
        experiment: what to train.
        workdir: the run's directory; need not exist.
        devices: of the mesh, here or only described; None means all of the run.

    Raises:
        ValueError: as `train`.
    """
    mesh = make_mesh(experiment, devices)
    choose_attention(experiment, mesh)
    source = _open_data(experiment.data, experiment, "data")
    held_out = _open_held_out(experiment)
    if held_out is not None:
        _require_one_tokenizer(source, held_out)
    experiment = resolve(experiment, source.rows_per_epoch)
    epochs = source.epochs(durations.resolved(experiment.loop.num_steps))
    repeats.warn_if_unwatched(
        {f"the rows of {name}": number for name, number in epochs.items()},
        "eval_data",
        watched=experiment.eval_data is not None,
    )
    weights, started_from = starting_weights.choose(
        workdir,
        experiment.init_from,
        experiment.model,
        ema=experiment.init_ema,
        fresh=experiment.init_fresh,
        tokenizer_fingerprint=source.tokenizer_fingerprint,
    )
    identity = RunIdentity(
        resolved={**resolved_config(experiment, source, held_out), **started_from},
        fixed=("kind", "model", "seed"),
        data=("data_dependencies",),
        # How a step is computed may change between two starts; what it computes may not. Runs in
        # eight bits may end in more.
        free=("model.remat", "model.attention", "model.scan", "model.products"),
        switches={
            "model.rope_table": "float32",
            "ema.decay": 0.0,
            "skip.max_in_a_row": 0,
            "optimizer.first_moment_dtype": "float32",
        },
    )
    training = dataclasses.replace(
        make_training(experiment, mesh, breakdown_lib.of_data(source)),
        begin=None if weights is None else lambda: _state_from(weights, experiment, mesh),
        batches=lambda step: device_batches(source, step, experiment, mesh),
        data_metrics=lambda step: {
            f"data/epochs/{name}": epochs for name, epochs in source.epochs(step).items()
        },
        evaluators=_evaluators(experiment, mesh, held_out),
    )
    return Prepared(
        experiment=experiment, mesh=mesh, source=source, identity=identity, training=training
    )


def _state_from(weights: StartingWeights, experiment: TransformerExperiment, mesh: Mesh) -> State:
    model, rules = experiment.model, experiment.rules
    parts = {"ema": experiment.ema, "skip": experiment.skip}
    params = weights.read(model, mesh, rules, experiment.seed)
    return make_init_from(model, experiment.optimizer, mesh, rules, **parts)(params)


def make_mesh(
    experiment: TransformerExperiment, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """The mesh on which parameters and batch divide.

    Args:
        experiment: says its axes.
        devices: of the mesh, here or only described; None means all of the run.

    Raises:
        ValueError: something does not divide; names the nearest mesh or batch that works.
    """
    with configs.within("mesh", num_rows="batch_size", row_length="data.context"):
        mesh = partition.make_mesh(
            experiment.mesh,
            experiment.rules,
            transformer.logical_axes(experiment.model),
            transformer.abstract_params(experiment.model),
            num_rows=experiment.batch_size,
            row_length=experiment.data.context,
            accumulation=experiment.accumulation,
            loss_chunks=experiment.loss_chunks,
            devices=devices,
        )
    if experiment.eval_data is not None:
        partition.check_length(
            mesh,
            experiment.eval_data.context,
            "eval_data.context",
            loss_chunks=experiment.loss_chunks,
            rules=experiment.rules,
        )
    return mesh


def choose_attention(experiment: TransformerExperiment, mesh: Mesh) -> backends.Choice:
    """The attention that a training runs on a mesh.

    Raises:
        ConfigError: `model.attention` names one that cannot run there.
    """
    with configs.within("model", length="data.context"):
        return transformer.choose_attention(
            experiment.model, experiment.data.context, mesh, experiment.rules
        )


def make_training(
    experiment: TransformerExperiment, mesh: Mesh, breakdown: Breakdown = NOTHING_APART
) -> Training:
    """The training of an experiment, without data.

    Args:
        experiment: with all durations in steps (`resolve`).
        mesh: where it runs; its devices need not be here if it is only compiled.
        breakdown: losses that its data can tell apart.

    Raises:
        ValueError: a parameter does not divide over the mesh, its devices lack a memory, or
            attention cannot run there.
    """
    if experiment.optimizer.offload:
        devices.require_host_memory(mesh.devices.flat, "optimizer.offload", True)
    if experiment.model.remat == "offload":
        devices.require_host_memory(mesh.devices.flat, "model.remat", "offload")
    products = _products(experiment.model, mesh)
    parts = {"ema": experiment.ema, "skip": experiment.skip}
    model, rules, context = experiment.model, experiment.rules, experiment.data.context
    tokens = experiment.batch_size * context
    peak = devices.device_peak(mesh.devices.flat[0].device_kind)
    abstract_params = transformer.abstract_params(model)
    placed = partition.shardings(mesh, rules, transformer.logical_axes(model), abstract_params)
    return Training(
        init_state=make_init(model, experiment.optimizer, mesh, rules, experiment.seed, **parts),
        step=next_token.make_step(
            model,
            experiment.optimizer,
            mesh,
            rules,
            accumulation=experiment.accumulation,
            loss_chunks=experiment.loss_chunks,
            z_loss=experiment.z_loss,
            breakdown=breakdown,
            **parts,
        ),
        labels=breakdown.labels,
        most_skipped=experiment.skip.max_in_a_row,
        abstract_batch=abstract_batch(experiment.batch_size, context, mesh, rules),
        work=speed.Work(
            unit="tokens",
            units_per_step=tokens,
            flops_per_step=tokens * flops.train_flops_per_token(model, context),
            full_attention_flops_per_step=tokens
            * flops.train_flops_per_token(model, context, full_attention=True),
            peak_flops_per_device=None if peak is None else peak.flops,
            totals={"tokens_with_loss_seen": "tokens"},
        ),
        summary=[
            mesh_lib.summary(mesh, experiment.mesh),
            str(choose_attention(experiment, mesh)),
            *products,
            "parameters:\n" + partition.table(abstract_params, placed),
        ],
    )


def _products(model: TransformerConfig, mesh: Mesh) -> list[str]:
    """What to log about products that are not in the model's dtype.

    Raises:
        ConfigError: devices of the mesh have no such products.
    """
    if model.products == "compute":
        return []
    device = mesh.devices.flat[0]
    with configs.within("model"):
        rate = devices.product_flops(device.device_kind, model.products)
    if rate is not None:
        how = f"up to {rate:.3g} a second on a {device.device_kind}; perf/mfu is of {model.dtype}"
    elif device.platform == "cpu":
        how = f"emulated on CPU, slower than {model.dtype}"
    else:
        how = f"it is not known whether a {device.device_kind} is faster in them"
    return [f"products: {model.products}, {how}"]


def _open_data(config: DataConfig, experiment: TransformerExperiment, key: str) -> Pipeline:
    held_out = key == "eval_data"
    with configs.within(key, global_batch="batch_size"):
        source = Pipeline(
            config,
            seed=draws.HELD_OUT_SEED if held_out else experiment.seed,
            global_batch=experiment.batch_size,
            allow_repeats=held_out,
        )
    of_model, of_shards = experiment.model.vocabulary, source.vocabulary
    for field in ("num_codes", "num_special"):
        wanted, given = getattr(of_model, field), getattr(of_shards, field)
        if wanted != given:
            raise ConfigError(
                *(Field(f"model.vocabulary.{field}"), f"={wanted} but the shards of ", Field(key)),
                f" ({source.parts[0].shards.directory}) have {given}; set the model's to theirs",
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
        raise ConfigError(
            *(Field("eval_data"), f": the shards in {held_out.parts[0].shards.directory} are of "),
            *(f"tokenizer {other[:16]}, those of ", Field("data"), f" are of {one[:16]}; "),
            "build both with one tokenizer",
        )


def resolve(
    experiment: TransformerExperiment, rows_per_epoch: int | None = None
) -> TransformerExperiment:
    """Every duration in steps.

    Args:
        experiment: as it was written.
        rows_per_epoch: of its data; None refuses durations in epochs.

    Raises:
        ConfigError: a duration that cannot be resolved.
    """
    rates = durations.Rates(
        examples_per_step=experiment.batch_size,
        tokens_per_step=experiment.batch_size * experiment.data.context,
        examples_per_epoch=rows_per_epoch,
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
) -> Iterator[Batch]:
    """Batches from `start_step` on, each process reading only the rows of its own devices.

    Yields:
        A dict of global arrays [batch_size, context], split over the mesh.
    """
    shape = (experiment.batch_size, experiment.data.context)
    own, place = device_rows.placement(mesh, experiment.rules, shape)
    for batch in source.iterate(start_step, rows=own):
        yield place(batch)


def _evaluators(
    experiment: TransformerExperiment, mesh: Mesh, source: Pipeline | None
) -> dict[str, Evaluator]:
    if source is None:
        return {}
    breakdown = breakdown_lib.of_data(source)
    sums = next_token.make_eval(
        experiment.model,
        mesh,
        experiment.rules,
        loss_chunks=experiment.loss_chunks,
        breakdown=breakdown,
    )
    shape = (experiment.batch_size, source.config.context)
    chosen = source.rows_once(experiment.eval_batches * experiment.batch_size)

    def evaluate(params: Any) -> Iterator[tuple[str, float] | None]:
        """None after each batch, then name and value: nats per id, or shares."""
        totals = []
        for batch in device_rows.batches_once(source, chosen, shape, mesh, experiment.rules):
            totals.append(jax.device_get(sums(params, batch)))
            yield None
        loss, hits, tokens = (
            sum(float(total[key]) for total in totals) for key in ("loss", "hits", "tokens")
        )
        yield "loss", loss / max(tokens, 1)
        yield "perplexity", math.exp(min(loss / max(tokens, 1), 700))
        yield "accuracy", hits / max(tokens, 1)
        apart = GroupSums(breakdown.labels)
        for total in totals:
            apart.add(total)
        yield from apart.take().items()

    evaluators = {"held_out": lambda state: evaluate(state["params"])}
    if experiment.ema.evaluate:
        evaluators["held_out_ema"] = lambda state: evaluate(state["ema"])
    return evaluators
