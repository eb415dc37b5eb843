"""Causal attention inside segments, one interface over several backends.

A position sees itself and the earlier positions of its own segment. Segment 0 is padding: it
sees padding only, so its rows stay finite and reach nothing that counts.

Shapes: B batch, L length, G key/value heads, P query heads per key/value head, H = G * P query
heads, K head dim.
"""

import dataclasses
import functools
from collections.abc import Callable

from jax import Array
from jax.sharding import Mesh

from lvm_jax.configs import ConfigError, Field
from lvm_jax.model.attention import blockwise, context, cudnn, splash, tokamax, triton, xla
from lvm_jax.model.attention.needs import Machine, Needs, Sizes, machine_of
from lvm_jax.model.attention.placement import Placement
from lvm_jax.partition import Rules, num_parts

Attend = Callable[[Array, Array, Array, Array | None, Placement], Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backend:
    """One way to compute attention.

    Attributes:
        needs: what it takes.
        attend: queries, keys, values, segments, `Placement` -> output, as `attend` below.
        attend_shared: the same for rows that several devices share; None: it needs whole rows.
        opt_in: "auto" never takes it.
    """

    needs: Needs
    attend: Attend
    attend_shared: Attend | None = None
    opt_in: bool = False


# The fastest first, where they run. "xla" is the reference that all others are held to.
BACKENDS: dict[str, Backend] = {
    "splash": Backend(needs=splash.NEEDS, attend=splash.attend, attend_shared=splash.attend),
    "tokamax": Backend(needs=tokamax.NEEDS, attend=tokamax.attend, opt_in=True),
    "cudnn": Backend(needs=cudnn.NEEDS, attend=cudnn.attend, opt_in=True),
    "triton": Backend(needs=triton.NEEDS, attend=triton.attend),
    "per_head": Backend(
        needs=blockwise.NEEDS, attend=functools.partial(blockwise.attend, per_head=True)
    ),
    "blockwise": Backend(
        needs=blockwise.NEEDS,
        attend=functools.partial(blockwise.attend, per_head=False),
        attend_shared=context.attend,
    ),
    "xla": Backend(needs=xla.NEEDS, attend=xla.attend),
}
# Compiled for one platform each.
_OPT_IN = "runs, but only when it is named"
KERNELS = tuple(name for name, backend in BACKENDS.items() if backend.needs.platform)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The backend that runs.

    Attributes:
        name: key of `BACKENDS`.
        reason: why it and no faster one, for the log.
        interpret: its kernel is interpreted.
    """

    name: str
    reason: str = ""
    interpret: bool = False

    def __str__(self) -> str:
        return f"attention: {self.name} ({self.reason})"


def choose(wanted: str, sizes: Sizes, mesh: Mesh | None, rules: Rules | None = None) -> Choice:
    """The backend for some sizes on some devices, which need not be here.

    "auto" takes the fastest kernel of the platform that takes the sizes. Else one CPU device runs
    heads one after another, so that scores stay in its cache; several devices must not, since a
    loop over heads would gather what the mesh has split. Short rows have little to skip.

    Args:
        wanted: `TransformerConfig.attention`.
        sizes: what is asked for.
        mesh: of the arrays; None leaves how they are split to the compiler, which cannot split a
            kernel: "auto" then takes none.
        rules: logical axis -> mesh axis; None means the default `Rules`.

    Raises:
        ConfigError: the wanted backend does not run; says what it needs, what there is and what
            to do. Fields: attention, length, dtype, num_kv_heads.
    """
    machine = machine_of(mesh)
    sizes = dataclasses.replace(sizes, parts=num_parts("length", mesh, rules))
    if wanted != "auto" and sizes.parts > 1 and BACKENDS[wanted].attend_shared is None:
        whole = f"={wanted} needs whole rows, which the mesh cuts in {sizes.parts} parts; use "
        raise ConfigError(Field("attention"), whole, Field("attention"), "=auto")
    if wanted == "auto":
        return _choose(sizes, machine, mesh)
    needs = BACKENDS[wanted].needs
    unmet = needs.unmet(sizes, machine)
    if unmet:
        raise ConfigError(Field("attention"), f"={wanted} needs ", *unmet)
    interpret = bool(needs.platform) and machine.platform != needs.platform
    reason = f"interpreted on {machine}, for tests: auto is faster" if interpret else "as wanted"
    return Choice(wanted, reason, interpret)


def _choose(sizes: Sizes, machine: Machine, mesh: Mesh | None) -> Choice:
    if sizes.length <= 2 * blockwise.BLOCK and sizes.parts == 1:
        return Choice("xla", f"rows of {sizes.length} ids have no blocks to skip")
    reasons = []
    for name in KERNELS:
        reason = "no mesh says where arrays lie" if mesh is None else _why_not(name, sizes, machine)
        if not reason:
            return Choice(name, "; ".join(reasons) or f"the fastest for {machine}")
        if not BACKENDS[name].opt_in or reason == _OPT_IN:
            reasons.append(f"{name}: {reason}")
    is_one_cpu = machine.platform == "cpu" and machine.num_devices == 1
    return Choice("per_head" if is_one_cpu else "blockwise", "; ".join(reasons))


def _why_not(name: str, sizes: Sizes, machine: Machine) -> str:
    """Why "auto" passes a kernel by; "" when it does not."""
    needs = BACKENDS[name].needs
    compiled = dataclasses.replace(needs, interpreted=False)
    unmet = compiled.unmet(dataclasses.replace(sizes, dtype="bfloat16"), machine)
    unmet = unmet or compiled.unmet(sizes, machine)
    if not unmet and sizes.parts > 1 and BACKENDS[name].attend_shared is None:
        unmet = (f"whole rows, not {sizes.parts} parts of each",)
    if unmet:
        return f"needs {''.join(unmet).partition(';')[0]}"
    return _OPT_IN if BACKENDS[name].opt_in else ""


def attend(
    q_BLHK: Array,
    k_BLGK: Array,
    v_BLGK: Array,
    segments_BL: Array | None,
    choice: Choice,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> Array:
    """Softmax attention over the same row.

    Where the mesh splits rows, all arrays are in the balanced order of `context_order`.

    Args:
        q_BLHK: queries after RoPE.
        k_BLGK: keys after RoPE; G divides H.
        v_BLGK: values.
        segments_BL: int32 segment of each position, or None when each row is one sentence.
        choice: from `choose`; all backends agree up to rounding.
        mesh: of the arrays; None when they are on one device, or split by the compiler, which can
            split all backends but the kernels.
        rules: logical axis -> mesh axis; None means the default `Rules`.

    Returns:
        [B, L, H, K] in the queries' dtype; scores and softmax are float32.
    """
    placement, backend = Placement(mesh, rules or Rules(), choice.interpret), BACKENDS[choice.name]
    attend = backend.attend
    if placement.parts("length") > 1:
        assert backend.attend_shared is not None, choice
        attend = backend.attend_shared
    return attend(q_BLHK, k_BLGK, v_BLGK, segments_BL, placement)
