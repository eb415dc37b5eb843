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
from lvm_jax.distributed.distributed_config import DistributedConfig
from lvm_jax.measures import perceptual, perceptual_weights
from lvm_jax.sentences import corpora
from lvm_jax.tokenizer import codec
from lvm_jax.tokenizer.vqgan_config import PRESETS, VQGANConfig
from lvm_jax.training import checkpoints, durations, in_use, loop, repeats, speed
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.vqgan import adversarial_step, held_out
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig
from lvm_jax.training.vqgan.corpus_images import CorpusImages, device_batches

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
        accumulation: micro-batches per update, see `adversarial.Setup`.
        corpus: where images come from: the same sources that make visual sentences, so that the
            tokenizer sees photographs, gray versions, holes and edges as the transformer will.
        eval_corpus: held-out sources, or None for no evaluation.
        eval_images: how many images of it; always the same ones.
        images: how files become square pictures; as for the shards that are built with it.
        memory_megabytes: images ready for training that are kept in memory; later epochs read the
            rest again.
        num_threads: that read and prepare images.
        perceptual_weights: files that hold the weights of `training.perceptual` together, see
            `perceptual_weights`. They may move while a run is interrupted, but not change.
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

    def __post_init__(self):
        for name in ("batch_size", "accumulation", "eval_images", "num_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"config.{name}={getattr(self, name)} must be at least 1")
        if self.memory_megabytes < 0:
            raise ValueError(
                f"config.memory_megabytes={self.memory_megabytes} must not be negative"
            )
        if self.perceptual_weights and self.training.perceptual is None:
            raise ValueError(
                f"config.perceptual_weights={list(self.perceptual_weights)} are set and nothing "
                "reads them; set training.perceptual.network too"
            )
        self.training.check_images(self.tokenizer)


def build_experiment(values: Mapping[str, Any], name: str = "config") -> TokenizerExperiment:
    """A mapping, such as an experiment file gives, -> a checked experiment.

    Args:
        values: fields of `TokenizerExperiment`; values["tokenizer"] may name a "preset".
        name: what error messages call the mapping.

    Raises:
        ValueError: an unknown key or a bad value, by name.
    """
    builders = {
        "tokenizer": functools.partial(configs.with_preset, PRESETS),
        "corpus": corpora.build_corpus,
        "eval_corpus": corpora.build_corpus,
    }
    return configs.build(TokenizerExperiment, values, name, builders)


def train(experiment: TokenizerExperiment, workdir: pathlib.Path) -> adversarial_step.State | None:
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
    workdir = pathlib.Path(workdir)
    source = open_images(experiment, experiment.corpus, experiment.memory_megabytes)
    # Its parameters fit any mesh, see `partition.split_largest`.
    mesh = partition.make_mesh(
        *(experiment.mesh, partition.Rules(), {}, {}),
        num_rows=experiment.batch_size,
        accumulation=experiment.accumulation,
    )
    perceptual_params = _perceptual_params(experiment)
    experiment = _resolve(experiment, source)
    repeats.warn_if_unwatched(
        {"the images": experiment.loop.num_steps * experiment.batch_size / len(source)},
        "config.eval_corpus",
        watched=experiment.eval_corpus is not None,
    )
    setup = _setup(experiment, mesh)
    init_state = adversarial_step.make_init(setup)
    eval_source = _open_held_out(experiment)
    resolved = resolved_config(experiment, source, perceptual_params, eval_source)
    export = functools.partial(_export, experiment, workdir, mesh)
    state = loop.run(
        experiment.loop,
        workdir=workdir,
        resolved=resolved,
        init_state=init_state,
        train_step=adversarial_step.make_step(setup, perceptual_params),
        batches=lambda step: device_batches(
            source,
            step,
            batch_size=experiment.batch_size,
            seed=experiment.seed,
            mesh=mesh,
            num_threads=experiment.num_threads,
        ),
        work=speed.Work(unit="images", units_per_step=experiment.batch_size),
        fixed=("kind", "tokenizer", "training", "seed", "perceptual_fingerprint"),
        evaluators=_evaluators(experiment, setup, eval_source, workdir, perceptual_params),
        after_save=export,
        summary=_summary(experiment, source, setup),
    )
    if state is None and not _has_tokenizer(workdir):
        # The run was killed after its last checkpoint and before its tokenizer was written.
        with in_use.claim(workdir):
            store = checkpoints.Checkpoints(
                workdir, resolved, keep=experiment.loop.keep_checkpoints
            )
            abstract = jax.eval_shape(init_state)
            export(store.latest_step(), store.restore(abstract))
            store.close()
    return state


def _perceptual_params(experiment: TokenizerExperiment) -> perceptual.Params | None:
    network = experiment.training.perceptual
    if network is None:
        return None
    return perceptual_weights.load(network, experiment.perceptual_weights)


def _setup(experiment: TokenizerExperiment, mesh: Mesh) -> adversarial_step.Setup:
    return adversarial_step.Setup(
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
    state: adversarial_step.State,
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


def _resolve(experiment: TokenizerExperiment, source: CorpusImages) -> TokenizerExperiment:
    """Every duration in steps."""
    rates = durations.Rates(examples_per_step=experiment.batch_size, examples_per_epoch=len(source))
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
    setup: adversarial_step.Setup,
    source: CorpusImages | None,
    workdir: pathlib.Path,
    perceptual_params: perceptual.Params | None,
) -> dict[str, loop.Evaluator]:
    if source is None:
        return {}
    evaluator = held_out.make_evaluator(
        setup,
        source,
        num_images=experiment.eval_images,
        batch_size=experiment.batch_size,
        workdir=workdir,
        perceptual_params=perceptual_params,
    )
    return {"held_out": evaluator}


def _summary(
    experiment: TokenizerExperiment, source: CorpusImages, setup: adversarial_step.Setup
) -> list[str]:
    config, mesh = experiment.tokenizer, setup.mesh
    abstract = jax.eval_shape(adversarial_step.make_init(setup))["params"]
    placed = adversarial_step.state_shardings(setup)["params"]
    lines = [
        f"{len(source):,} images of {config.image_size} pixels -> "
        f"{config.tokens_per_image} ids of {config.num_codes}",
        mesh_lib.summary(mesh),
    ]
    if mesh.shape["fsdp"] > 1:
        lines.append("parameters:\n" + partition.table(abstract, placed))
    return lines
