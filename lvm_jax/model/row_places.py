"""Where the rows of a decode batch, and the matrices they meet, lie on a mesh.

Rows are candidates of prompts. The mesh axes that split a training's batch split prompts or, where
there is only one, its candidates; tensor splits heads and columns. Ids of a row stay together, so
the axes of rows' lengths repeat the work.

Shapes: R rows, G key/value heads, I input dim, O output dim.
"""

import dataclasses
from collections.abc import Sequence

from jax import Array
from jax.sharding import Mesh

from lvm_jax.partition import Rules, constrain, num_parts


@dataclasses.dataclass(frozen=True)
class RowPlaces:
    """A mesh and what splits the rows on it.

    Attributes:
        mesh: None: everything is on one device.
        rules: of the parameters and activations.
        split_candidates: the batch's axes split candidates, not prompts.
    """

    mesh: Mesh | None = None
    rules: Rules = dataclasses.field(default_factory=Rules)
    split_candidates: bool = False

    @property
    def prompt_rules(self) -> Rules:
        """For whole prompts: none of their ids split, and the prompts only if they are."""
        batch = None if self.split_candidates else self.rules.batch
        return dataclasses.replace(self.rules, length=None, residual_length=None, batch=batch)

    def prompts(self, x: Array, axes: Sequence[str | None]) -> Array:
        """Places an activation of prompts, as `block` wants it, or one layer's cache of them."""
        return constrain(x, axes, self.mesh, self.prompt_rules)

    def rows(self, x_RG: Array) -> Array:
        """Places rows' queries, keys or values [R, G, ...], or what they keep of them.

        The candidates of a prompt are neighbours, so a split of either splits rows.
        """
        axes = ("batch", "act_kv_heads", *(None,) * (x_RG.ndim - 2))
        return constrain(x_RG, axes, self.mesh, self.rules)

    def matrix(self, kernel_IO: Array, axes: Sequence[str | None]) -> Array:
        """Places a matrix for the decode loop: split over tensor, not over fsdp.

        Gathered over fsdp once, rather than in every step.
        """
        rules = dataclasses.replace(self.rules, embed=None)
        return constrain(kernel_IO, axes, self.mesh, rules)


ONE_DEVICE = RowPlaces()


def num_row_parts(mesh: Mesh | None) -> int:
    """Over how many parts of the mesh rows are split."""
    return num_parts("batch", mesh)
