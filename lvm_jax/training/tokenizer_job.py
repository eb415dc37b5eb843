"""The tokenizer's training as a whole: an experiment, checked and handed to the loop."""

import bisect
import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from lvm_jax import configs, partition
from lvm_jax import mesh as mesh_lib
from lvm_jax.data import mixture
from lvm_jax.sentences import compose, spec
from lvm_jax.sentences.pictures import PictureCache
from lvm_jax.tokenizer import codec, quantizer
from lvm_jax.tokenizer.config import PRESETS, VQGANConfig
from lvm_jax.training import adversarial, checkpoints, durations, loop
from lvm_jax.training.adversarial import AdversarialConfig
from lvm_jax.training.optimizer import OptimizerConfig

TOKENIZER_FOLDER = "tokenizer"
_PREFETCH = 2  # batches loaded ahead of the step
_PICTURE_CACHE_BYTES = 256 * 2**20


def _adam() -> OptimizerConfig:
    return OptimizerConfig(
        peak_lr=1e-4, end_lr=1e-5, b1=0.9, b2=0.95, weight_decay=0.0, clip_norm=1.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerExperiment:
    """Everything that decides a tokenizer's training, except where it is written.

    Attributes:
        seed: of the initialisation, the data order and the restarts of codes.
        batch_size: images of the global batch, over all devices.
        corpus: where images come from: the same sources that make visual sentences, so that the
            tokenizer sees photographs, gray versions, holes and edges as the transformer will.
        eval_corpus: held-out sources, or None for no evaluation.
        eval_images: how many images of it; always the same ones.
        memory_megabytes: images ready for training that are kept in memory; later epochs read the
            rest again.
        num_threads: that read and prepare images.
        tokenizer, training, optimizer, mesh, loop, distributed: see their classes.
        discriminator_optimizer: durations count from the run's start, not the discriminator's.
    """

    seed: int = 0
    batch_size: int
    corpus: compose.CorpusConfig
    eval_corpus: compose.CorpusConfig | None = None
    eval_images: int = 64
    memory_megabytes: int = 512
    num_threads: int = 2
    tokenizer: VQGANConfig
    training: AdversarialConfig = dataclasses.field(default_factory=AdversarialConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=_adam)
    discriminator_optimizer: OptimizerConfig = dataclasses.field(default_factory=_adam)
    mesh: mesh_lib.MeshConfig = dataclasses.field(
        default_factory=lambda: mesh_lib.MeshConfig(data=-1, fsdp=1)
    )
    loop: loop.LoopConfig
    distributed: mesh_lib.DistributedConfig = dataclasses.field(
        default_factory=mesh_lib.DistributedConfig
    )

    def __post_init__(self):
        for name in ("batch_size", "eval_images", "num_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"config.{name}={getattr(self, name)} must be at least 1")
        if self.memory_megabytes < 0:
            raise ValueError(
                f"config.memory_megabytes={self.memory_megabytes} must not be negative"
            )


def build_experiment(values: Mapping[str, Any], name: str = "config") -> TokenizerExperiment:
    """A mapping, such as an experiment file gives, -> a checked experiment.

    Args:
        values: fields of `TokenizerExperiment`; values["tokenizer"] may name a "preset".
        name: what error messages call the mapping.

    Raises:
        ValueError: an unknown key or a bad value, by name.
    """
    values = dict(values)
    if isinstance(values.get("tokenizer"), Mapping):
        values["tokenizer"] = configs.with_preset(PRESETS, values["tokenizer"], f"{name}.tokenizer")
    for key in ("corpus", "eval_corpus"):
        if isinstance(values.get(key), Mapping):
            values[key] = compose.build_corpus(values[key], f"{name}.{key}")
    # Optimizers state only what differs from a VQGAN's usual ones, not from a transformer's.
    for key in ("optimizer", "discriminator_optimizer"):
        if isinstance(values.get(key), Mapping):
            values[key] = {**configs.to_dict(_adam()), **values[key]}
    return configs.build(TokenizerExperiment, values, name)


def train(experiment: TokenizerExperiment, workdir: pathlib.Path) -> adversarial.State | None:
    """Trains, or goes on training, in `workdir`; workdir/tokenizer is for `load_tokenizer`.

    Args:
        experiment: what to train.
        workdir: the run's directory; see `checkpoints` for what is in it.

    Returns:
        The final state, or None when the run was finished before.

    Raises:
        ValueError: found before training: mesh, batch, images or workdir do not fit.
        loop.RunError: training failed or was told to stop.
    """
    workdir = pathlib.Path(workdir)
    source = CorpusImages(
        experiment.corpus, experiment.tokenizer.image_size, experiment.memory_megabytes
    )
    mesh = mesh_lib.make_mesh(experiment.mesh)
    partition.check_batch(mesh, experiment.batch_size, "config.batch_size")
    experiment = _resolve(experiment, source)
    evaluators = _evaluators(experiment, mesh)
    arguments = (
        experiment.tokenizer,
        experiment.training,
        experiment.optimizer,
        experiment.discriminator_optimizer,
        mesh,
        experiment.seed,
    )
    init_state = adversarial.make_init(*arguments)
    resolved = resolved_config(experiment, source)

    def export(step: int, state: adversarial.State) -> None:
        del step
        if jax.process_index() == 0:
            codec.save_tokenizer(workdir / TOKENIZER_FOLDER, experiment.tokenizer, state["ema"])

    state = loop.run(
        experiment.loop,
        workdir=workdir,
        resolved=resolved,
        init_state=init_state,
        train_step=adversarial.make_step(*arguments),
        batches=lambda step: device_batches(
            source,
            step,
            batch_size=experiment.batch_size,
            seed=experiment.seed,
            mesh=mesh,
            num_threads=experiment.num_threads,
        ),
        work=loop.Work(unit="images", units_per_step=experiment.batch_size),
        fixed=("kind", "tokenizer", "training", "seed"),
        evaluators=evaluators,
        after_save=export,
        summary=[_describe(experiment, source)],
    )
    if state is None and not _has_tokenizer(workdir):
        # The run was killed after its last checkpoint and before its tokenizer was written.
        store = checkpoints.Checkpoints(workdir, resolved, keep=experiment.loop.keep_checkpoints)
        abstract = jax.eval_shape(init_state)
        export(store.latest_step(), store.restore(abstract))
        store.close()
    return state


def _has_tokenizer(workdir: pathlib.Path) -> bool:
    try:
        codec.load_tokenizer(workdir / TOKENIZER_FOLDER)
    except ValueError as error:
        logging.warning("writing the tokenizer again: %s", error)
        return False
    return True


def _resolve(experiment: TokenizerExperiment, source: "CorpusImages") -> TokenizerExperiment:
    """Every duration in steps."""
    rates = durations.Rates(examples_per_step=experiment.batch_size, examples_per_epoch=len(source))
    loop_config = experiment.loop.resolve(rates)
    rates = dataclasses.replace(rates, run_steps=loop_config.num_steps)
    return dataclasses.replace(
        experiment,
        loop=loop_config,
        optimizer=experiment.optimizer.resolve(rates),
        discriminator_optimizer=experiment.discriminator_optimizer.resolve(rates),
    )


def resolved_config(experiment: TokenizerExperiment, source: "CorpusImages") -> dict[str, Any]:
    """What workdir/config.json holds."""
    return {
        "kind": "tokenizer",
        **configs.to_dict(experiment),
        "data_fingerprint": source.fingerprint,
    }


def _describe(experiment: TokenizerExperiment, source: "CorpusImages") -> str:
    config = experiment.tokenizer
    return (
        f"{len(source):,} images of {config.image_size} pixels -> "
        f"{config.tokens_per_image} ids of {config.num_codes}"
    )


class CorpusImages:
    """The images of a corpus, one after another: every image of every sentence.

    Args:
        corpus: the sources.
        size: side of the images.
        memory_megabytes: prepared images that are kept, first come first kept.
    """

    def __init__(self, corpus: compose.CorpusConfig, size: int, memory_megabytes: int = 0):
        self._corpus, self.image_size = corpus, size
        self._epoch_ends = list(
            itertools.accumulate(
                source.num_sentences() * source.images_per_sentence for source in corpus.sources
            )
        )
        self.fingerprint = compose.Sentences(corpus).fingerprint()
        self._kept: dict[str, np.ndarray] = {}
        self._max_kept = memory_megabytes * 2**20 // (3 * size * size)
        self._read = PictureCache(_PICTURE_CACHE_BYTES).read

    def __len__(self) -> int:
        return self._corpus.epochs * self._epoch_ends[-1]

    def load(self, index: int) -> np.ndarray:
        """uint8 [size, size, 3]; index in [0, len)."""
        ref = self._ref(index)
        image = self._kept.get(ref.key)
        if image is None:
            image = spec.load(ref, self.image_size, read=self._read)
            if len(self._kept) < self._max_kept:
                self._kept[ref.key] = image
        return image

    def _ref(self, index: int) -> spec.ImageRef:
        epoch, place = divmod(index, self._epoch_ends[-1])
        block = bisect.bisect_right(self._epoch_ends, place)
        source = self._corpus.sources[block]
        place -= self._epoch_ends[block - 1] if block else 0
        number, position = divmod(place, source.images_per_sentence)
        return source.sentence(self._corpus.seed, epoch, number).images[position]


def device_batches(
    source: CorpusImages,
    start_step: int,
    *,
    batch_size: int,
    seed: int,
    mesh: Mesh,
    num_threads: int,
) -> Iterator[jax.Array]:
    """Batches from `start_step` on: a pure function of (corpus, seed, step), loaded ahead.

    Yields:
        uint8 [batch_size, size, size, 3], images split over the mesh; each process loads only
        those of its own devices.
    """
    size = source.image_size
    sharding = partition.batch_sharding(mesh)
    shape = (batch_size, size, size, 3)
    spans = [index[0] for index in sharding.addressable_devices_indices_map(shape).values()]
    rows = sorted({row for span in spans for row in range(*span.indices(batch_size))})

    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:

        def start(step: int) -> dict[int, concurrent.futures.Future]:
            chosen = mixture.rows_of_step(step, batch_size, len(source), seed, shuffle=True)
            return {row: pool.submit(source.load, int(chosen[row])) for row in rows}

        ahead = collections.deque(start(start_step + i) for i in range(_PREFETCH))
        try:
            for step in itertools.count(start_step + _PREFETCH):
                loaded = {row: future.result() for row, future in ahead.popleft().items()}
                ahead.append(start(step))
                yield jax.make_array_from_callback(
                    shape, sharding, functools.partial(_stack, loaded, batch_size)
                )
        finally:
            pool.shutdown(cancel_futures=True)


def _stack(loaded: Mapping[int, np.ndarray], batch_size: int, index: Any) -> np.ndarray:
    return np.stack([loaded[row] for row in range(*index[0].indices(batch_size))])


def _evaluators(experiment: TokenizerExperiment, mesh: Mesh) -> dict[str, loop.Evaluator]:
    if experiment.eval_corpus is None:
        return {}
    source = CorpusImages(experiment.eval_corpus, experiment.tokenizer.image_size)
    evaluate_batch = adversarial.make_eval(experiment.tokenizer, mesh)
    # The same images every time: the first ones of the shuffled first epoch.
    count = min(experiment.eval_images, len(source))
    chosen = mixture.permute(np.arange(count), len(source), experiment.seed, 0)

    @functools.cache
    def batches() -> tuple[tuple[np.ndarray, int], ...]:
        held_out = np.stack([source.load(int(index)) for index in chosen])
        size = experiment.batch_size
        pieces = [held_out[start : start + size] for start in range(0, count, size)]
        # The last batch is filled with repeats, whose numbers are dropped again.
        return tuple((np.resize(piece, (size, *piece.shape[1:])), len(piece)) for piece in pieces)

    def evaluate(state: adversarial.State) -> Iterator[tuple[str, float]]:
        psnrs, ids = [], []
        for images_BHWC, size in batches():
            result = evaluate_batch(state["ema"], images_BHWC)
            psnrs.append(np.asarray(result["psnr"])[:size])
            ids.append(np.asarray(result["ids"])[:size])
        counts_K = quantizer.histogram(np.concatenate(ids), experiment.tokenizer.num_codes)
        yield "psnr", float(np.concatenate(psnrs).mean())
        yield "codebook_usage", float(quantizer.usage(counts_K))
        yield "codebook_perplexity", float(quantizer.perplexity(counts_K))

    return {"held_out": evaluate}
