"""FID and KID of folders of pictures against one of them."""

import dataclasses
import os
from typing import Any

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.evaluation.folder_features import FolderFeatures
from lvm_jax.measures import feature_distances
from lvm_jax.measures.feature_distances import FEWEST_FOR_FID, KernelDistance

_USUAL_SUBSET = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class KidConfig:
    """How KID is estimated.

    Attributes:
        num_subsets: drawn of each folder.
        subset_size: pictures of a subset; None takes 1,000 or half of the smaller folder.
        seed: of the draws.
    """

    num_subsets: int = 100
    subset_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(self, 2, "num_subsets", "subset_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderDistance:
    """How far a folder is from the reference.

    Attributes:
        num_images: of the folder; None where a file does not say.
        fid: 0 for the same moments.
        kid: None where a file does not keep the features of single pictures.
    """

    num_images: int | None
    fid: float
    kid: KernelDistance | None

    def report(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return dataclasses.asdict(self)


def measure(
    reference: FolderFeatures, folder: FolderFeatures, config: KidConfig, name: str
) -> FolderDistance:
    """The distances of a folder from the reference.

    Args:
        reference, folder: of the same settings.
        config: of KID.
        name: what errors call the folder.

    Raises:
        ConfigError: subsets that are larger than half of a folder.
    """
    kid = None
    if reference.features is not None and folder.features is not None:
        kid = _kid(reference.features, folder.features, config, name)
    return FolderDistance(
        num_images=folder.moments.num,
        fid=feature_distances.fid(reference.moments, folder.moments),
        kid=kid,
    )


def _kid(one_ND: Any, other_ND: Any, config: KidConfig, name: str) -> KernelDistance:
    most = feature_distances.largest_subset(min(len(one_ND), len(other_ND)))
    size = config.subset_size or min(_USUAL_SUBSET, most)
    if size > most:
        raise ConfigError(
            *(Field("subset_size"), f"={size} is too large for {name} and the reference: "),
            f"subsets of at most {most}, half of the smaller folder, still differ enough to judge "
            "by",
        )
    return feature_distances.kid(
        one_ND, other_ND, num_subsets=config.num_subsets, subset_size=size, seed=config.seed
    )


def doubt(name: str | os.PathLike, found: FolderFeatures) -> str | None:
    """What makes a folder's FID doubtful, or None."""
    num = found.moments.num
    if num is not None and num < FEWEST_FOR_FID:
        return (
            f"{os.fspath(name)} has {num:,} pictures: below {FEWEST_FOR_FID:,}, as many as "
            "features, FID comes out too large and depends on their number; compare FIDs of equal "
            "numbers only, or KID"
        )
    if found.settings is None:
        return (
            f"{os.fspath(name)} does not say with which weights and --resize it was made: its FID "
            "means something only if they are the same as now"
        )
    return None
