r"""Shows what a tokenizer keeps: originals beside their decodes, with PSNR, SSIM and codes in use.

  python tools/reconstruct.py --tokenizer=DIR --images a.png photos/ "more/*.jpg" --out=FILE.png

Images are files, folders or patterns. FILE.json beside the picture has the numbers of every image.
They are read as the tokenizer's own training pictures were, where its directory says how.
"""

import glob
import os
import pathlib
from collections.abc import Sequence

import cli
import picture_flags
from absl import flags

TOKENIZER = flags.DEFINE_string(
    "tokenizer",
    None,
    "Directory that train_tokenizer.py or convert_tokenizer.py made.",
    required=True,
)
IMAGES = flags.DEFINE_string(
    "images", None, "Files, folders, patterns: --images a.png photos/ ...", required=True
)
OUT = flags.DEFINE_string(
    "out", None, "Picture to write, and a JSON file beside it.", required=True
)
picture_flags.define_reading()
flags.DEFINE_alias("resize", "fit")
picture_flags.define_scale("its images")
SHOW = flags.DEFINE_integer("show", 16, "Images in the picture; all are measured.", 1)
COLUMNS = flags.DEFINE_integer("columns", 4, "Images in a row, each beside its decode.", 1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images per call of the tokenizer.", 1)
NUM_THREADS = flags.DEFINE_integer("num_threads", 4, "Threads that read images.", 1)


def main(*more_images: str) -> None:
    from lvm_jax import atomic
    from lvm_jax import images as images_lib

    out = pathlib.Path(OUT.value)
    images_lib.written_format(out)
    paths = _paths((IMAGES.value, *more_images))
    changes = picture_flags.changes()

    # Imported after the flags are known to be good: a typo should not wait for jax.
    import lvm_jax
    from lvm_jax import configs, file_names, image_record, progress_bar
    from lvm_jax.evaluation import reconstruction

    tokenizer = lvm_jax.load_tokenizer(TOKENIZER.value)
    config = image_record.config_for(tokenizer.images, TOKENIZER.value, changes)
    with progress_bar.Bar(total=len(paths), unit=" images", desc="reconstructing") as bar:
        found = reconstruction.reconstruct(
            tokenizer,
            paths,
            config,
            num_shown=SHOW.value,
            batch_size=BATCH_SIZE.value,
            num_threads=NUM_THREADS.value,
            progress=bar.update,
        )
    report = {
        "tokenizer": TOKENIZER.value,
        "fingerprint": tokenizer.fingerprint,
        "image_config": configs.to_dict(config),
        **found.report(),
    }
    images_lib.write_image(out, found.picture(COLUMNS.value, flags.FLAGS.scale))
    numbers = out.with_suffix(".json")
    atomic.write_json(numbers, report, indent=1)
    for row in report["images"][: SHOW.value]:
        print(f"{_spell(row)}  {file_names.shown(row['path'])}")
    codebook = report["codebook"]
    print(
        f"{_spell(report['mean'])}  mean of {len(paths)} images; {codebook['usage']:.1%} of "
        f"{tokenizer.num_codes} codes in use, perplexity {codebook['perplexity']:.1f}"
    )
    print(f"wrote {out} and {numbers}")


def _spell(row: dict[str, float]) -> str:
    ssim = f"  SSIM {row['ssim']:.4f}" if "ssim" in row else ""
    return f"PSNR {row['psnr']:5.2f} dB{ssim}"


def _paths(given: Sequence[str]) -> list[str]:
    """The files that names, folders and patterns stand for, each once, in order.

    Raises:
        ValueError: a name without a file.
    """
    from lvm_jax import file_names, image_folders

    found: list[str] = []
    for name in given:
        if os.path.isdir(name):
            found += [path.as_posix() for path in image_folders.list_images(name)]
        elif os.path.exists(name):
            found.append(name)
        else:
            # As a shell would read it, but for folders that have its other signs in their names.
            matches = file_names.expand(name) or sorted(glob.glob(name))
            matches = [path for path in matches if os.path.isfile(path)]
            if not matches:
                raise ValueError(f"--images: no file, folder or pattern {name}")
            found += matches
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    cli.run(main, ["..."])
