r"""Shows what a tokenizer keeps: originals beside their decodes, with PSNR, SSIM and codes in use.

  python tools/reconstruct.py --tokenizer=DIR --images a.png photos/ "more/*.jpg" --out=FILE.png

Images are files, folders or patterns. FILE.json beside the picture has the numbers of every image.
They are read as the tokenizer's own training pictures were, where its directory says how.
"""

import dataclasses
import glob
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import cli
from lvm_jax import configs
from model_options import TokenizerOptions
from picture_options import ReadingOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ReadingOptions, TokenizerOptions):
    """Which images, through which tokenizer.

    Attributes:
        images: files, folders, patterns: --images a.png photos/ ...
        out: picture to write, and a JSON file beside it.
        scale: how many times the size of its images is drawn; by default enough to see something.
        show: images in the picture; all are measured.
        columns: images in a row, each beside its decode.
        batch_size: images per call of the tokenizer.
        num_threads: threads that read images.
    """

    images: tuple[str, ...]
    out: str
    scale: int | None = None
    show: int = 16
    columns: int = 4
    batch_size: int = 32
    num_threads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("scale", "show", "columns", "batch_size", "num_threads")
        configs.require_at_least(self, 1, *names)


def main(options: Options) -> None:
    from lvm_jax import atomic
    from lvm_jax import images as images_lib

    out, directory = pathlib.Path(options.out), options.tokenizer_directory()
    images_lib.written_format(out)
    paths = _paths(options.images)
    changes = options.changes()

    # Imported after the flags are known to be good: a typo should not wait for jax.
    import lvm_jax
    from lvm_jax import file_names, image_record, progress_bar
    from lvm_jax.evaluation import reconstruction

    tokenizer = lvm_jax.load_tokenizer(directory)
    config = image_record.config_for(tokenizer.images, directory, changes)
    with progress_bar.Bar(total=len(paths), unit=" images", desc="reconstructing") as bar:
        measured = reconstruction.reconstruct(
            tokenizer,
            paths,
            config,
            num_shown=options.show,
            batch_size=options.batch_size,
            num_threads=options.num_threads,
            progress=bar.update,
        )
    report: dict[str, Any] = {
        "tokenizer": directory,
        "fingerprint": tokenizer.fingerprint,
        "image_config": configs.to_dict(config),
        **measured.report(),
    }
    images_lib.write_image(out, measured.picture(options.columns, options.scale))
    numbers = out.with_suffix(".json")
    atomic.write_json(numbers, report, indent=1)
    for row in report["images"][: options.show]:
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

    paths: list[str] = []
    for name in given:
        if os.path.isdir(name):
            paths += [path.as_posix() for path in image_folders.list_images(name)]
        elif os.path.exists(name):
            paths.append(name)
        else:
            # As a shell would read it, but for folders that have its other signs in their names.
            matches = file_names.expand(name) or sorted(glob.glob(name))
            matches = [path for path in matches if os.path.isfile(path)]
            if not matches:
                raise ValueError(f"--images: no file, folder or pattern {name}")
            paths += matches
    return list(dict.fromkeys(paths))


if __name__ == "__main__":
    cli.run(main, words="images", aliases={"resize": "fit"})
