r"""Measures how far folders of pictures are from a reference folder: FID and KID.

  python tools/compare_folders.py photos/ runs/a/answers runs/b/answers \
      --inception=pt_inception-2015-12-05-6726825d.pth --cache=runs/features --json=distances.json

Each may be a folder, or a .npz file of features: one that an earlier call left in --cache, where
folders that have not changed are found again without reading them, or one of pytorch-fid (without
KID). The weights are the user's: those that pytorch-fid or torch-fidelity ship, as torch, .npz or
safetensors, under their own names (Conv2d_1a_3x3.conv.weight, Conv2d_1a_3x3.bn.running_mean, ...).
Torchvision's weights of Inception v3 are refused: their distances are not comparable.

FID compares 2,048 features, so it takes thousands of pictures in each folder. KID is given times
1,000 with its standard error.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import cli
from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from picture_options import ReadingOptions

if TYPE_CHECKING:
    from lvm_jax.evaluation.folder_distances import FolderDistance
    from lvm_jax.evaluation.folder_features import FolderFeatures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ReadingOptions):
    """Which folders, and how they are compared.

    Attributes:
        folders: the reference, and what is compared with it.
        inception: file of weights of FID's Inception v3.
        json: file to write, with all numbers.
        cache: folder where what was found of each folder is kept and found again.
        resize: how pictures are stretched to 299 pixels: as TensorFlow's original and
            torch-fidelity, or as pytorch-fid.
        size: side of the square that pictures become first, as for a model (see --fit); by default
            they are stretched as they are.
        num_subsets: subsets that KID is a mean of.
        subset_size: pictures of each; by default 1,000, or half of the smaller folder.
        seed: of their draws.
        batch_size: pictures per call of Inception.
        num_threads: threads that read pictures.
    """

    folders: tuple[str, ...]
    inception: str
    json: str | None = None
    cache: str | None = None
    resize: Literal["tensorflow", "pytorch_fid"] = "tensorflow"
    size: int | None = None
    num_subsets: int = 100
    subset_size: int | None = None
    seed: int = 0
    batch_size: int = 32
    num_threads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "size", "batch_size", "num_threads")
        configs.require_at_least(self, 2, "num_subsets", "subset_size")
        if len(self.folders) < 2:
            raise ValueError(f"expects REFERENCE FOLDER..., got {self.folders[0]} alone")
        if self.fit is not None and self.size is None:
            raise ConfigError(
                Field("fit"), " needs ", Field("size"), ": squares of how many pixels"
            )


def main(options: Options) -> None:
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from absl import logging

    from lvm_jax import atomic, image_folders
    from lvm_jax.evaluation import folder_distances, folder_features

    for name in options.folders:  # before any of them is read, which may take long
        if pathlib.Path(name).suffix != folder_features.EXTENSION or pathlib.Path(name).is_dir():
            image_folders.list_images(name)
    settings, read = _reading(options)
    reference, *others = options.folders
    found: dict[str, FolderFeatures] = {}
    for name in options.folders:
        found[name] = found[name] if name in found else read(name)
        if doubt := folder_distances.doubt(name, found[name]):
            logging.log_first_n(logging.WARNING, "%s", len(options.folders), doubt)
    kid = folder_distances.KidConfig(
        num_subsets=options.num_subsets, subset_size=options.subset_size, seed=options.seed
    )
    distances = {
        name: folder_distances.measure(found[reference], found[name], kid, name) for name in others
    }
    print("\n".join(_table(reference, found[reference], distances)))
    if options.json is not None:
        report = {
            "reference": reference,
            "num_images": found[reference].moments.num,
            "settings": {**settings, "kid_seed": options.seed},
            "folders": {name: distance.report() for name, distance in distances.items()},
        }
        atomic.write_json(options.json, report, parents=True)
        print(f"wrote {options.json}")


def _reading(options: Options) -> tuple[dict[str, Any], Callable[[str], "FolderFeatures"]]:
    """What features depend on, and what finds those of a folder or file."""
    from lvm_jax import progress_bar
    from lvm_jax.evaluation import folder_features
    from lvm_jax.images import ImageConfig
    from lvm_jax.measures import inception_weights

    config = folder_features.FeatureConfig(
        resize=options.resize,
        size=options.size,
        images=configs.build(ImageConfig, options.changes(), ""),
        batch_size=options.batch_size,
        num_threads=options.num_threads,
    )
    params, weights = inception_weights.load(options.inception)
    extract = folder_features.extractor(params)

    def read(name: str) -> "FolderFeatures":
        path = pathlib.Path(name)
        if path.suffix == folder_features.EXTENSION and not path.is_dir():
            stored = folder_features.read(path)
            folder_features.require_same_settings(stored, path, config.settings(weights))
            return stored
        with progress_bar.Bar(unit=" pictures", desc=name) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            return folder_features.of_folder(
                path, config, weights, extract, cache=options.cache, progress=show
            )

    return config.settings(weights), read


def _table(
    reference: str, found: "FolderFeatures", distances: dict[str, "FolderDistance"]
) -> list[str]:
    """The distances for a terminal."""
    from lvm_jax.evaluation.report import wording

    rows = [("from " + reference, _count(found.moments.num), "FID", "KID x 1000")]
    for name, distance in distances.items():
        kid = distance.kid
        spelled = f"{1000 * kid.mean:.3f} ± {1000 * kid.standard_error:.3f}" if kid else "not known"
        rows.append((name, _count(distance.num_images), f"{distance.fid:.3f}", spelled))
    return wording.aligned(rows)


def _count(num: int | None) -> str:
    return "? pictures" if num is None else f"{num:,} pictures"


if __name__ == "__main__":
    cli.run(main, arguments={"folders": "REFERENCE FOLDER..."}, words="folders")
