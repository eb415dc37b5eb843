"""What attention is asked for, on which devices, and what a backend takes of both."""

import dataclasses
import importlib.util

import jax
from jax.sharding import Mesh

from lvm_jax.configs import Field

Pieces = tuple[str, ...]
"""Text of which some pieces are names of fields, as `configs.ConfigError` takes it."""

# Compute capability by the beginning of a device's kind, for devices that are described and not
# here: those do not say it.
_CAPABILITIES = {
    "NVIDIA A100": (8, 0),
    "NVIDIA L4": (8, 9),  # L40S too
    "NVIDIA H100": (9, 0),
    "NVIDIA H200": (9, 0),
    "NVIDIA GH200": (9, 0),
    "NVIDIA B200": (10, 0),
    "NVIDIA GB200": (10, 0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What attention is asked for.

    Attributes:
        length: ids of a row.
        num_heads: query heads.
        kv_heads: key and value heads; fewer than `num_heads` are grouped heads.
        head_dim: width of one head.
        dtype: of queries, keys and values: "float32" or "bfloat16".
        parts: devices that share a row.
    """

    length: int
    num_heads: int
    kv_heads: int
    head_dim: int
    dtype: str = "float32"
    parts: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """The devices, which need not be here.

    Attributes:
        platform: "cpu", "tpu" or "gpu".
        kind: as `jax.Device.device_kind` has it.
        capability: compute capability of a GPU, (9, 0) for Hopper; None if it does not say.
        num_devices: of the mesh.
        here: this process runs on devices of this platform; a plan's may only be described.
    """

    platform: str
    kind: str
    capability: tuple[int, int] | None = None
    num_devices: int = 1
    here: bool = True

    def __str__(self) -> str:
        return self.platform if self.platform == "cpu" else self.kind


def machine_of(mesh: Mesh | None) -> Machine:
    """The devices of a mesh; without one, the first device of this process."""
    device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
    platform = "gpu" if device.platform in ("gpu", "cuda", "rocm") else device.platform
    capability = next(
        (value for name, value in _CAPABILITIES.items() if device.device_kind.startswith(name)),
        None,
    )
    told = getattr(device, "compute_capability", None)
    if isinstance(told, str) and told.count(".") == 1:
        major, minor = map(int, told.split("."))
        capability = (major, minor)
    return Machine(
        platform=platform,
        kind=device.device_kind,
        capability=capability,
        num_devices=1 if mesh is None else mesh.size,
        here=device.platform == jax.default_backend(),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needs:
    """What a backend takes. All take segments, padding at the end of rows, and any batch.

    Attributes:
        module: that must be installed; "" is none.
        extra: of this package that installs the module; "" where JAX has it or has lost it.
        platform: that it is compiled for; "" is any.
        interpreted: runs on CPU too, interpreted: far slower than the others, for tests.
        here: not for devices that are only described: it asks the GPU that is there.
        capability: least compute capability of a GPU.
        old_kinds: devices that it takes float32 on at most, and that "auto" leaves alone.
        dtypes: of queries, keys and values.
        length_multiple: of a row's ids; of devices that share rows, of each of their two chunks.
        max_head_dim: widest head; 0 is any.
        grouped_from: first version of JAX on which grouped heads are right; () is any.
    """

    module: str = ""
    extra: str = ""
    platform: str = ""
    interpreted: bool = False
    here: bool = False
    capability: tuple[int, int] | None = None
    old_kinds: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    length_multiple: int = 1
    max_head_dim: int = 0
    grouped_from: tuple[int, ...] = ()

    def unmet(self, sizes: Sizes, machine: Machine) -> Pieces:
        """What is needed, what there is and the remedy, to be read after "needs"; () if all is met.

        Args:
            sizes: what is asked for.
            machine: where.
        """
        runs_interpreted = self.interpreted and machine.platform == "cpu"
        if self.platform and machine.platform != self.platform and not runs_interpreted:
            return (f"{self.platform.upper()} devices, not {machine}", *_AUTO)
        if self.here and not machine.here:
            return (f"{machine} devices that are here, not described ones", *_AUTO)
        if machine.kind in self.old_kinds and sizes.dtype != "float32":
            return (f"a newer TPU for {sizes.dtype} than {machine.kind}", *_AUTO)
        return self._unmet_capability(machine) or self._unmet_module() or self._unmet_sizes(sizes)

    def _unmet_module(self) -> Pieces:
        package = self.module.partition(".")[0]
        if not self.module or (
            importlib.util.find_spec(package) and importlib.util.find_spec(self.module)
        ):
            return ()
        if self.extra:
            remedy = f"; pip install 'lvm_jax[{self.extra}]'"
            return (f"{self.module}, which is not installed{remedy}", *_OR_AUTO)
        return (f"{self.module}, which JAX {jax.__version__} does not have", *_AUTO)

    def _unmet_capability(self, machine: Machine) -> Pieces:
        if self.capability is None or machine.platform != "gpu":
            return ()
        if machine.capability is None or machine.capability < self.capability:
            least = ".".join(map(str, self.capability))
            return (f"a GPU of compute capability {least} or more, not {machine.kind}", *_AUTO)
        return ()

    def _unmet_sizes(self, sizes: Sizes) -> Pieces:
        length, chunks = sizes.length, 1 if sizes.parts == 1 else 2 * sizes.parts
        multiple = self.length_multiple * chunks
        if length % multiple:
            above = -(-length // multiple) * multiple
            given = Field("length"), f"={length}; "
            return (
                f"rows of a multiple of {multiple} ids, not ",
                *given,
                f"use {above}",
                *_OR_AUTO,
            )
        if sizes.dtype not in self.dtypes:
            given = Field("dtype"), f"={sizes.dtype}"
            return (f"{' or '.join(self.dtypes)}, not ", *given, *_AUTO)
        if self.max_head_dim and sizes.head_dim > self.max_head_dim:
            return (f"heads of {self.max_head_dim} dims at most, not {sizes.head_dim}", *_AUTO)
        is_grouped = sizes.kv_heads != sizes.num_heads
        if is_grouped and jax.__version_info__ < self.grouped_from:
            least = ".".join(map(str, self.grouped_from))
            given = Field("num_kv_heads"), f"={sizes.kv_heads}, which JAX {jax.__version__} gets "
            return (f"JAX {least} for ", *given, "silently wrong; install it", *_OR_AUTO)
        return ()


_AUTO: Pieces = ("; use ", Field("attention"), "=auto")
_OR_AUTO: Pieces = (", or ", Field("attention"), "=auto")
