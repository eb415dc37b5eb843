"""The tokenizer's training as a whole: an experiment, checked and handed to the loop."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from lvm_jax import configs, partition, trees
from lvm_jax import images as images_lib
from lvm_jax import mesh as mesh_lib
from lvm_jax.configs import ConfigError, Field
from lvm_jax.distributed.distributed_config import DistributedConfig
from lvm_jax.measures import perceptual, perceptual_weights
from lvm_jax.sentences import corpora
from lvm_jax.storage import paths
from lvm_jax.tokenizer import codec
from lvm_jax.tokenizer.vqgan_config import PRESETS, VQGANConfig
from lvm_jax.training import (
    checkpoints,
    compilation_cache,
    durations,
    in_use,
    loop,
    repeats,
    speed,
)
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.training import Evaluator, Training
from lvm_jax.training.vqgan import adversarial_state, adversarial_step, held_out
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig
from lvm_jax.training.vqgan.corpus_images import CorpusImages, device_batches
from lvm_jax.training.workdir import RunIdentity

TOKENIZER_FOLDER = "tokenizer"


def _adam() -> OptimizerConfig:
    """What a VQGAN's optimizers are unless an experiment says otherwise."""
    return OptimizerConfig(
        peak_lr=1e-4, end_lr=1e-5, b1=0.9, b2=0.95, weight_decay=0.0, clip_norm=1.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerExperiment:
    """Everything that decides a tokenizer's training, except where it is written.

    Attributes:
        seed: of the initialisation, the data order and the restarts of codes.
        batch_size: images of the global batch, over all devices and micro-batches.
        accumulation: micro-batches per update, see `adversarial_state.Recipe`.
        corpus: where images come from: the same sources that make visual sentences, so that the
            tokenizer sees photographs, gray versions, holes and edges as the transformer will.
        eval_corpus: held-out sources, or None for no evaluation.
        eval_images: how many images of it; always the same ones, whatever the seed.
        images: how files become square pictures; as for the shards that are built with it.
        memory_megabytes: images ready for training that are kept in memory; later epochs read the
            rest again.
        num_threads: that read and prepare images.
        perceptual_weights: files that hold the weights of `training.perceptual` together, see
            `measures.perceptual_weights`. They may move while a run is interrupted, but not change.
        tokenizer, training, optimizer, mesh, loop, distributed: see their classes.
        discriminator_optimizer: its schedule begins when the discriminator does.
    """

    seed: int = 0
    batch_size: int
    accumulation: int = 1
    corpus: corpora.CorpusConfig
    eval_corpus: corpora.CorpusConfig | None = None
    eval_images: int = 64
    images: images_lib.ImageConfig = dataclasses.field(default_factory=images_lib.ImageConfig)
    memory_megabytes: int = 512
    num_threads: int = 2
    perceptual_weights: tuple[str, ...] = ()
    tokenizer: VQGANConfig
    training: AdversarialConfig = dataclasses.field(default_factory=AdversarialConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=_adam)
    discriminator_optimizer: OptimizerConfig = dataclasses.field(default_factory=_adam)
    mesh: mesh_lib.MeshConfig = dataclasses.field(
        default_factory=lambda: mesh_lib.MeshConfig(data=-1, fsdp=1)
    )
    loop: loop.LoopConfig
    distributed: DistributedConfig = dataclasses.field(default_factory=DistributedConfig)

    def __post_init__(self) -> None:
        counts = ("batch_size", "accumulation", "eval_images", "num_threads")
        configs.require_at_least(self, 1, *counts)
        configs.require_at_least(self, 0, "memory_megabytes")
        if self.perceptual_weights and self.training.perceptual is None:
            raise ConfigError(
                Field("perceptual_weights"),
                f"={list(self.perceptual_weights)} are set and nothing reads them; set ",
                *(Field("training.perceptual.network"), " too"),
            )
        for name in ("optimizer", "discriminator_optimizer"):
            if getattr(self, name).offload:
                raise ConfigError(
                    *(Field(f"{name}.offload"), "=True is for a transformer's training; the "),
                    "moments of a tokenizer are small: leave it out",
                )
        self.training.check_images(self.tokenizer)


def build_experiment(values: Mapping[str, Any], name: str = "config") -> TokenizerExperiment:
    """A mapping, such as an experiment file gives, -> a checked experiment.

    Args:
        values: fields of `TokenizerExperiment`; values["tokenizer"] may name a "preset".
        name: what error messages call the mapping.

    Raises:
        ConfigError: an unknown key or a bad value, by name.
    """
    builders = {
        "tokenizer": functools.partial(configs.with_preset, PRESETS),
        "corpus": corpora.build_corpus,
        "eval_corpus": corpora.build_corpus,
    }
    return configs.build(TokenizerExperiment, values, name, builders)


def train(experiment: TokenizerExperiment, workdir: pathlib.Path) -> adversarial_state.State | None:
    """Trains, or goes on training, in `workdir`; workdir/tokenizer is for `load_tokenizer`.

    Args:
        experiment: what to train.
        workdir: the run's directory; see `checkpoints` for what is in it.

    Returns:
        The final state, or None when the run was finished before.

    Raises:
        ValueError: found before training: mesh, batch, images or workdir do not fit.
        stopping.RunError: training failed or was told to stop.
    """
    workdir = paths.path(workdir)
    compilation_cache.use(experiment.loop.compilation_cache)
    source = open_images(experiment, experiment.corpus, experiment.memory_megabytes)
    mesh = make_mesh(experiment)
    perceptual_params = _perceptual_params(experiment)
    experiment = resolve(experiment, len(source))
    seen = durations.resolved(experiment.loop.num_steps) * experiment.batch_size
    repeats.warn_if_unwatched(
        {"the images": seen / len(source)},
        "eval_corpus",
        watched=experiment.eval_corpus is not None,
    )
    training = make_training(experiment, mesh)
    eval_source = _open_held_out(experiment)
    identity = RunIdentity(
        resolved=resolved_config(experiment, source, perceptual_params, eval_source),
        fixed=("kind", "tokenizer", "training", "seed", "perceptual_fingerprint"),
        data=("data_fingerprint",),
    )
    config = experiment.tokenizer
    training = dataclasses.replace(
        training,
        constants=(jax.device_put(perceptual_params, partition.replicated(mesh)),),
        batches=lambda step: device_batches(
            source,
            step,
            batch_size=experiment.batch_size,
            seed=experiment.seed,
            mesh=mesh,
            num_threads=experiment.num_threads,
        ),
        evaluators=_evaluators(experiment, mesh, eval_source, workdir, perceptual_params),
        after_save=functools.partial(_export, experiment, workdir, mesh),
        summary=[
            f"{len(source):,} images of {config.image_size} pixels -> "
            f"{config.tokens_per_image} ids of {config.num_codes}",
            *training.summary,
        ],
    )
    state = loop.run(experiment.loop, workdir, identity, training)
    if state is None and not _has_tokenizer(workdir):
        # The run was killed after its last checkpoint and before its tokenizer was written.
        _save_again(experiment, workdir, identity, training)
    return state


def make_mesh(experiment: TokenizerExperiment) -> Mesh:
    """The mesh of all devices, on which the batch divides.

    Raises:
        ValueError: it does not; names the nearest batch that does.
    """
    # Its parameters fit any mesh, see `partition.split_largest`.
    with configs.within("mesh", num_rows="batch_size"):
        return partition.make_mesh(
            experiment.mesh,
            partition.Rules(),
            {},
            {},
            num_rows=experiment.batch_size,
            accumulation=experiment.accumulation,
        )


def make_training(experiment: TokenizerExperiment, mesh: Mesh) -> Training:
    """The training of an experiment, without data: neither images nor a perceptual network's files.

    Args:
        experiment: with all durations in steps (`resolve`).
        mesh: where it runs; its devices need not be here if it is only compiled.
    """
    recipe = _recipe(experiment, mesh)
    init_state = adversarial_state.make_init(recipe)
    summary = [mesh_lib.summary(mesh, experiment.mesh)]
    if mesh.shape["fsdp"] > 1:
        abstract = jax.eval_shape(init_state)["params"]
        placed = adversarial_state.state_shardings(recipe)["params"]
        summary.append("parameters:\n" + partition.table(abstract, placed))
    return Training(
        init_state=init_state,
        step=adversarial_step.make_step(recipe),
        abstract_batch=adversarial_step.abstract_batch(recipe, experiment.batch_size),
        constants=(adversarial_step.abstract_perceptual_params(recipe),),
        work=speed.Work(unit="images", units_per_step=experiment.batch_size),
        summary=summary,
    )


def _perceptual_params(experiment: TokenizerExperiment) -> perceptual.Params | None:
    network = experiment.training.perceptual
    if network is None:
        return None
    return perceptual_weights.load(network, experiment.perceptual_weights)


def _recipe(experiment: TokenizerExperiment, mesh: Mesh) -> adversarial_state.Recipe:
    return adversarial_state.Recipe(
        model=experiment.tokenizer,
        training=experiment.training,
        optimizer=experiment.optimizer,
        discriminator_optimizer=experiment.discriminator_optimizer,
        mesh=mesh,
        seed=experiment.seed,
        accumulation=experiment.accumulation,
    )


def _export(
    experiment: TokenizerExperiment,
    workdir: pathlib.Path,
    mesh: Mesh,
    step: int,
    state: adversarial_state.State,
) -> None:
    """Writes the tokenizer of a checkpoint; the newest one stays. All processes call it alike."""
    del step
    params = state["ema"]
    if jax.process_count() > 1:
        # Process 0 can only write what its own devices hold.
        params = jax.jit(lambda tree: tree, out_shardings=partition.replicated(mesh))(params)
    if jax.process_index() == 0:
        codec.save_tokenizer(
            workdir / TOKENIZER_FOLDER, experiment.tokenizer, params, experiment.images
        )


def _save_again(
    experiment: TokenizerExperiment,
    workdir: pathlib.Path,
    identity: RunIdentity,
    training: Training,
) -> None:
    """What follows the last checkpoint of a finished run."""
    with in_use.claim(workdir):
        keep = experiment.loop.keep_checkpoints
        store = checkpoints.Checkpoints(workdir, identity.resolved, keep=keep)
        step = store.latest_step()
        assert step is not None, "a finished run has a checkpoint"
        training.after_save(step, store.restore(training.abstract_state(), step))
        store.close()


def _has_tokenizer(workdir: pathlib.Path) -> bool:
    try:
        codec.load_tokenizer(workdir / TOKENIZER_FOLDER)
    except ValueError as error:
        logging.warning("writing the tokenizer again: %s", error)
        return False
    return True


def open_images(
    experiment: TokenizerExperiment, corpus: corpora.CorpusConfig, memory_megabytes: int = 0
) -> CorpusImages:
    """The images of one of the corpora of an experiment, as it reads them."""
    size = experiment.tokenizer.image_size
    return CorpusImages(corpus, size, memory_megabytes, experiment.images)


def _open_held_out(experiment: TokenizerExperiment) -> CorpusImages | None:
    if experiment.eval_corpus is None:
        return None
    return open_images(experiment, experiment.eval_corpus)


def resolve(
    experiment: TokenizerExperiment, images_per_epoch: int | None = None
) -> TokenizerExperiment:
    """Every duration in steps.

    Args:
        experiment: as it was written.
        images_per_epoch: of its data; None refuses durations in epochs.

    Raises:
        ConfigError: a duration that cannot be resolved.
    """
    rates = durations.Rates(
        examples_per_step=experiment.batch_size, examples_per_epoch=images_per_epoch
    )
    optimizers = ["optimizer", "discriminator_optimizer"]
    return durations.resolve_experiment(experiment, rates, optimizers)


def resolved_config(
    experiment: TokenizerExperiment,
    source: CorpusImages,
    perceptual_params: perceptual.Params | None = None,
    eval_source: CorpusImages | None = None,
) -> dict[str, Any]:
    """What workdir/config.json holds."""
    weights = None if perceptual_params is None else trees.fingerprint(perceptual_params)
    return {
        "kind": "tokenizer",
        **configs.to_dict(experiment),
        "data_fingerprint": source.fingerprint,
        "eval_data_fingerprint": None if eval_source is None else eval_source.fingerprint,
        "perceptual_fingerprint": weights,
    }


def _evaluators(
    experiment: TokenizerExperiment,
    mesh: Mesh,
    source: CorpusImages | None,
    workdir: pathlib.Path,
    perceptual_params: perceptual.Params | None,
) -> dict[str, Evaluator]:
    if source is None:
        return {}
    evaluator = held_out.make_evaluator(
        _recipe(experiment, mesh),
        source,
        num_images=experiment.eval_images,
        batch_size=experiment.batch_size,
        workdir=workdir,
        perceptual_params=perceptual_params,
    )
    return {"held_out": evaluator}
