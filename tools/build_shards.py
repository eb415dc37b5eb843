r"""Turns pictures into shards: sources -> visual sentences -> ids -> ArrayRecord files.

  python tools/build_shards.py --config=experiments/quickstart_sentences.py \
      --tokenizer=runs/quickstart/tokenizer/tokenizer --out=runs/quickstart/shards

The experiment has a section `corpus` (sources, seed, epochs) and may have a section `shards`
(shard_megabytes, batch_size, num_threads, ...). Interrupted, the same command goes on where it
stopped; finished, it says so.
"""

import cli
import tqdm
from absl import flags, logging

cli.define_config()
TOKENIZER = flags.DEFINE_string(
    "tokenizer",
    None,
    "Directory that train_tokenizer.py or convert_tokenizer.py made.",
    required=True,
)
OUT = flags.DEFINE_string("out", None, "Directory for the shards.", required=True)


def main() -> None:
    values = cli.load_config()
    if "corpus" not in values:
        raise ValueError(f"--config={flags.FLAGS.config} has no section corpus; see --help")
    # Imported after the flags are known to be good, and jax after the corpus is: a typo should not
    # wait for it.
    from lvm_jax import configs
    from lvm_jax.data import build
    from lvm_jax.sentences import compose

    corpus = compose.build_corpus(values["corpus"], "config.corpus")
    config = configs.build(build.BuildConfig, values.get("shards", {}), "config.shards")
    compose.sentences(corpus)

    from lvm_jax.tokenizer import codec

    tokenizer = codec.load_tokenizer(TOKENIZER.value)
    with tqdm.tqdm(unit=" sentences", desc="shards", dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shards = build.build_shards(corpus, tokenizer, OUT.value, config, progress)
    manifest = shards.manifest
    logging.info(
        "%s: %d sentences, %d images (%d unique), %d tokens in %d shards",
        OUT.value,
        len(shards),
        manifest["num_images"],
        manifest["about"]["unique_images"],
        manifest["num_images"] * shards.tokens_per_image,
        len(manifest["shards"]),
    )


if __name__ == "__main__":
    cli.run(main)
