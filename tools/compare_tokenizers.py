r"""Measures tokenizers on the same held-out images and draws what becomes of some of them.

  python tools/compare_tokenizers.py \
      --config=experiments/uvd_mini_tokenizer.py:evaluate=held_out \
      --tokenizers ours=runs/uvd_mini_tokenizer taming=runs/uvd_mini_tokenizer_taming \
      --out=experiments/results/uvd_mini_tokenizers.png

Images are those of the experiment's eval_corpus, the distance is that of its perceptual network,
over all stages. Directories are training runs or tokenizers. FILE.json beside the picture has the
numbers and, for training runs, the seconds that their steps took.
"""

import pathlib

import cli
from absl import flags

cli.define_config()
TOKENIZERS = flags.DEFINE_string(
    "tokenizers", None, "NAME=DIR NAME=DIR ..., in the order of the picture.", required=True
)
OUT = flags.DEFINE_string(
    "out", None, "Picture to write, and a JSON file beside it.", required=True
)
SHOW = flags.DEFINE_integer("show", 12, "Images in the picture; all are measured.", 1)
SCALE = flags.DEFINE_integer("scale", 1, "Side of a pixel in the picture.", 1)


def main(*more: str) -> None:
    values = cli.load_config()

    # Imported after the flags are known to be good: a typo should not wait for jax.
    import dataclasses

    import numpy as np

    from lvm_jax import atomic, image_record, images
    from lvm_jax.evaluation import comparison
    from lvm_jax.measures import perceptual, perceptual_weights
    from lvm_jax.training.vqgan import tokenizer_job

    experiment = cli.build_config(tokenizer_job.build_experiment, values)
    places = dict(_named(text) for text in (TOKENIZERS.value, *more))
    out = pathlib.Path(OUT.value)
    if experiment.eval_corpus is None:
        raise ValueError("config.eval_corpus is not set; compare on what was held out")
    network, params = experiment.training.perceptual, None
    if network is not None:
        network = dataclasses.replace(network, stages=len(perceptual.STAGES))
        params = perceptual_weights.load(network, experiment.perceptual_weights)
    tokenizers = {name: _load(place) for name, place in places.items()}
    for name, tokenizer in tokenizers.items():
        if tokenizer.images is not None:
            image_record.warn_if_different(experiment.images, tokenizer.images, name)
        if tokenizer.image_size != experiment.tokenizer.image_size:
            raise ValueError(
                f"--tokenizers {name} is for images of {tokenizer.image_size} pixels, "
                f"config.tokenizer.image_size={experiment.tokenizer.image_size}"
            )
    source = tokenizer_job.open_images(experiment, experiment.eval_corpus)
    originals = np.stack([source.load(index) for index in range(len(source))])
    measurements = {}
    for name, tokenizer in tokenizers.items():
        measurements[name] = comparison.measure(tokenizer, originals, network, params)
        print(comparison.label(name, measurements[name]))
    images.write_image(out, comparison.picture(measurements, SHOW.value, SCALE.value))
    report = comparison.report(
        measurements,
        facts={name: _seconds(place) for name, place in places.items()},
        num_images=len(originals),
        data_fingerprint=source.fingerprint,
        perceptual="none" if network is None else f"{network.network}, {network.stages} stages",
    )
    numbers = out.with_suffix(".json")
    atomic.write_json(numbers, report, indent=1)
    print(f"wrote {out} and {numbers}")


def _named(text: str) -> tuple[str, str]:
    name, equals, place = text.partition("=")
    if not equals or not name or not place:
        raise ValueError(f"--tokenizers {text!r} must be NAME=DIR")
    return name, place


def _load(place: str):
    import lvm_jax
    from lvm_jax.training.vqgan import tokenizer_job

    run = pathlib.Path(place) / tokenizer_job.TOKENIZER_FOLDER
    return lvm_jax.load_tokenizer(run if run.is_dir() else place)


def _seconds(place: str) -> dict[str, float]:
    """Of a run: images seen and the seconds of its steps; nothing for a tokenizer."""
    from lvm_jax.training import metrics

    lines = [line for line in metrics.read_metrics(pathlib.Path(place)) if "train/loss" in line]
    if not lines:
        return {}
    seconds = round(metrics.training_seconds(lines), 1)
    return {"images_seen": lines[-1]["train/images_seen"], "train_seconds": seconds}


if __name__ == "__main__":
    cli.run(main, [cli.REST])
