r"""Measures tokenizers on the same held-out images and draws what becomes of some of them.

  python tools/compare_tokenizers.py \
      --config=experiments/uvd_mini_tokenizer.py:evaluate=held_out \
      --tokenizers ours=runs/uvd_mini_tokenizer taming=runs/uvd_mini_tokenizer_taming \
      --out=experiments/results/uvd_mini_tokenizers.png

Images are those of the experiment's eval_corpus, the distance is that of its perceptual network,
over all stages. Directories are training runs or tokenizers. FILE.json beside the picture has the
numbers and, for training runs, the seconds that their steps took; with --by_source also those of
each source of eval_corpus, such as a kind of picture, and the picture shows some of each.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import cli
from experiment_files import ExperimentFile
from lvm_jax import configs

if TYPE_CHECKING:
    from lvm_jax.measures.perceptual import Params, PerceptualConfig
    from lvm_jax.tokenizer.codec import Tokenizer
    from lvm_jax.tokenizer.measuring import Measurement
    from lvm_jax.training.vqgan.tokenizer_job import TokenizerExperiment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which tokenizers, on which images.

    Attributes:
        config: the experiment.
        tokenizers: NAME=DIR NAME=DIR ..., in the order of the picture.
        out: picture to write, and a JSON file beside it.
        show: images in the picture, or of each source; all are measured.
        scale: side of a pixel in the picture.
        by_source: also measures each source apart, in pairs questions and answers apart.
    """

    config: ExperimentFile
    tokenizers: tuple[str, ...]
    out: str
    show: int = 12
    scale: int = 1
    by_source: bool = False

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "show", "scale")


def main(options: Options) -> None:
    values = options.config.load()
    # Imported after the flags are known to be good: a typo should not wait for jax.
    import numpy as np

    from lvm_jax import atomic, images, sheets
    from lvm_jax.evaluation import comparison
    from lvm_jax.training.vqgan import tokenizer_job

    experiment = options.config.build(tokenizer_job.build_experiment, values)
    places = dict(map(_named, options.tokenizers))
    if experiment.eval_corpus is None:
        raise configs.ConfigError(
            *(configs.Field("config.eval_corpus"), " is not set; compare on what was held out")
        )
    network, params = _perceptual_network(experiment)
    tokenizers = {name: _load(name, place, experiment) for name, place in places.items()}
    source = tokenizer_job.open_images(experiment, experiment.eval_corpus)
    originals = np.stack([source.load(index) for index in range(len(source))])

    def measure(originals: np.ndarray) -> dict[str, "Measurement"]:
        return {
            name: comparison.measure(tokenizer, originals, network, params)
            for name, tokenizer in tokenizers.items()
        }

    measurements = measure(originals)
    for name, measurement in measurements.items():
        print(comparison.label(name, measurement))
    groups = source.parts() if options.by_source else {}
    parts = {part: measure(originals[indices]) for part, indices in groups.items()}
    sheet = [
        sheets.captioned(comparison.picture(part, options.show, options.scale), name)
        for name, part in parts.items()
    ] or [comparison.picture(measurements, options.show, options.scale)]
    out = pathlib.Path(options.out)
    images.write_image(out, sheets.flow(sheet))
    report = comparison.report(
        measurements,
        facts={name: _seconds(place) for name, place in places.items()},
        num_images=len(originals),
        data_fingerprint=source.fingerprint,
        perceptual="none" if network is None else f"{network.network}, {network.stages} stages",
    )
    if parts:
        report["sources"] = {
            part: {name: measurement.summary() for name, measurement in of_part.items()}
            for part, of_part in parts.items()
        }
    numbers = out.with_suffix(".json")
    atomic.write_json(numbers, report, indent=1)
    print(f"wrote {out} and {numbers}")


def _perceptual_network(
    experiment: "TokenizerExperiment",
) -> tuple["PerceptualConfig | None", "Params | None"]:
    """The experiment's network over all stages, and its parameters; None without one."""
    from lvm_jax.measures import perceptual, perceptual_weights

    network = experiment.training.perceptual
    if network is None:
        return None, None
    network = dataclasses.replace(network, stages=len(perceptual.STAGES))
    with configs.within("config"):
        return network, perceptual_weights.load(network, experiment.perceptual_weights)


def _named(text: str) -> tuple[str, str]:
    name, equals, place = text.partition("=")
    if not equals or not name or not place:
        raise ValueError(f"--tokenizers {text!r} must be NAME=DIR")
    return name, place


def _load(name: str, place: str, experiment: "TokenizerExperiment") -> "Tokenizer":
    """The tokenizer of a run, or of its own directory.

    Raises:
        ValueError: none is there, or one for images of another size.
    """
    import lvm_jax
    from lvm_jax import image_record
    from lvm_jax.training.vqgan import tokenizer_job

    run = pathlib.Path(place) / tokenizer_job.TOKENIZER_FOLDER
    tokenizer = lvm_jax.load_tokenizer(run if run.is_dir() else place)
    if tokenizer.images is not None:
        image_record.warn_if_different(experiment.images, tokenizer.images, name)
    size = experiment.tokenizer.image_size
    if tokenizer.image_size != size:
        raise configs.ConfigError(
            f"--tokenizers {name} is for images of {tokenizer.image_size} pixels, ",
            *(configs.Field("config.tokenizer.image_size"), f"={size}"),
        )
    return tokenizer


def _seconds(place: str) -> dict[str, float]:
    """Of a run: images seen and the seconds of its steps; nothing for a tokenizer."""
    from lvm_jax.training import metrics

    lines = [line for line in metrics.read_metrics(pathlib.Path(place)) if "train/loss" in line]
    if not lines:
        return {}
    seconds = round(metrics.training_seconds(lines), 1)
    return {"images_seen": lines[-1]["train/images_seen"], "train_seconds": seconds}


def keys() -> dict[str, type]:
    from lvm_jax.training.vqgan.tokenizer_job import TokenizerExperiment

    return {"config": TokenizerExperiment}


if __name__ == "__main__":
    cli.run(main, words="tokenizers", keys=keys)
