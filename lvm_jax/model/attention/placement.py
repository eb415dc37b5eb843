"""Kernels run per device: what each one's share of the arrays is.

Shapes: B rows, L length, H query heads, G key/value heads, K head dim.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from lvm_jax.model.attention.saved_names import ATTENTION, PROJECTION
from lvm_jax.partition import Rules, num_parts


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where attention runs.

    Attributes:
        mesh: of the arrays; None when they are on one device.
        rules: logical axis -> mesh axis.
        interpret: kernels are interpreted: the devices are CPUs. A topology of devices that are
            not here gets the kernel itself, whatever this process runs on.
    """

    mesh: Mesh | None = None
    rules: Rules = dataclasses.field(default_factory=Rules)
    interpret: bool = False

    def spec(self, logical_axes: str) -> P:
        """The share of an array whose dims are e.g. "batch act_heads - -"; "-" is whole."""
        names = [None if name == "-" else name for name in logical_axes.split()]
        return self.rules.spec(names)

    def parts(self, logical: str) -> int:
        """In how many parts a logical axis is split."""
        return num_parts(logical, self.mesh, self.rules)

    def per_device(self, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable:
        """`function` of each device's share; without a mesh the function itself."""
        if self.mesh is None:
            return function
        # Kernels do not say over which axes their results vary.
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )

    def beside_queries(self, k_BLGK: Array, num_heads: int) -> tuple[Array, str]:
        """Keys or values such that every device has those of its query heads.

        Returns:
            (keys, logical axis of their heads): as given where query heads and key heads are split
            alike, else one for each query head.
        """
        alike = self.parts("act_heads") == self.parts("act_kv_heads")
        if alike or k_BLGK.shape[2] == num_heads:
            return k_BLGK, "act_kv_heads" if alike else "act_heads"
        return jnp.repeat(k_BLGK, num_heads // k_BLGK.shape[2], axis=2), "act_heads"

    def run_whole(
        self,
        share: Callable[..., Array],
        q_BLHK: Array,
        k_BLGK: Array,
        v_BLGK: Array,
        segments_BL: Array | None,
    ) -> Array:
        """Attention by a kernel with a derivative of its own, which keeps its sums to itself.

        Args:
            share: queries, keys, values, segments of one device -> output, shaped as the queries.
            q_BLHK, k_BLGK, v_BLGK, segments_BL: see `backends.attend`.
        """
        keep = lambda x: checkpoint_name(x, PROJECTION)
        k_BLGK, kv_heads = self.beside_queries(keep(k_BLGK), q_BLHK.shape[2])
        v_BLGK, _ = self.beside_queries(keep(v_BLGK), q_BLHK.shape[2])
        q_spec, kv_spec = (self.spec(f"batch - {n} -") for n in ("act_heads", kv_heads))
        in_specs = (q_spec, kv_spec, kv_spec, self.spec("batch -"))
        run = self.per_device(share, in_specs, q_spec)
        return checkpoint_name(run(keep(q_BLHK), k_BLGK, v_BLGK, segments_BL), ATTENTION)
