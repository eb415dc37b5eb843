"""Weak scaling: what a chip does and moves, from plans of one model on more and more chips.

Each chip has the same share of a batch that grows with the chips. Flat columns mean that a step
takes as long on many chips as on few, if the network beyond one slice is as good.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from lvm_jax.planning import chips, topologies
from lvm_jax.planning.plan import Plan

_TERA, _GIB = 1e12, 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerChip:
    """A chip's share of a step.

    Attributes:
        topology: of the plan.
        mesh: axis -> size, those of size 1 left out.
        chips: of the topology.
        tokens: of the global batch, over the chips.
        flops: executed.
        memory_bytes: moved to and from the chip's memory, see `traffic`.
        moves: collective and its axes, such as "all-gather over fsdp" -> bytes.
    """

    topology: str
    mesh: Mapping[str, int]
    chips: int
    tokens: float
    flops: float
    memory_bytes: float
    moves: Mapping[str, float]

    @property
    def network_bytes(self) -> float:
        """Of all collectives."""
        return sum(self.moves.values())


def per_chip(plan: Plan) -> PerChip:
    """What each chip of a plan does and moves in a step."""
    devices = plan.devices / plan.chips
    moves: dict[str, float] = {}
    for move in plan.moves:
        name = f"{move.kind} over {', '.join(move.axes)}"
        moves[name] = moves.get(name, 0.0) + move.bytes * devices
    memory_bytes = 0.0
    if plan.bounds is not None:
        kind = topologies.parse(plan.topology).device_kind
        memory_bytes = plan.bounds.memory_seconds * chips.chip(kind).peak.bandwidth * devices
    return PerChip(
        topology=plan.topology,
        mesh={axis: size for axis, size in plan.mesh.items() if size > 1},
        chips=plan.chips,
        tokens=plan.tokens_per_step / plan.chips,
        flops=plan.flops["executed"] / plan.chips,
        memory_bytes=memory_bytes,
        moves=moves,
    )


def table(shares: Sequence[PerChip]) -> str:
    """A row for each plan: its mesh, and per chip and step tokens, FLOPs and bytes."""
    rows = [("topology", "chips", "mesh", "tokens", "TFLOP", "memory GiB", "network GiB")]
    for share in shares:
        mesh = " ".join(f"{axis}={size}" for axis, size in share.mesh.items())
        numbers = (share.flops / _TERA, share.memory_bytes / _GIB, share.network_bytes / _GIB)
        cells = (f"{share.tokens:,.0f}", *(f"{number:,.2f}" for number in numbers))
        rows.append((share.topology, str(share.chips), mesh, *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def not_flat(shares: Sequence[PerChip], tolerance: float = 0.05) -> list[str]:
    """What grows or shrinks per chip from the first plan to another, by more than a share.

    Args:
        shares: of plans of one model, on more and more chips.
        tolerance: share of the first plan's number that may be between them; of collectives, of all
            their bytes.

    Returns:
        A line for each: "v5p:4x4x8: all-gather over fsdp 4.10 GiB, 2.05 GiB on v5p:4x4x4".
    """
    first, *others = shares
    lines = []
    for other in others:
        values = {
            "tokens": (other.tokens, first.tokens, first.tokens, 1.0, ""),
            "FLOPs": (other.flops, first.flops, first.flops, _TERA, " T"),
            "memory": (other.memory_bytes, first.memory_bytes, first.memory_bytes, _GIB, " GiB"),
        }
        for name in sorted({*first.moves, *other.moves}):
            now, before = other.moves.get(name, 0.0), first.moves.get(name, 0.0)
            values[name] = (now, before, first.network_bytes, _GIB, " GiB")
        for name, (now, before, whole, unit, suffix) in values.items():
            if abs(now - before) > tolerance * whole:
                lines.append(
                    f"{other.topology}: {name} {now / unit:,.2f}{suffix}, "
                    f"{before / unit:,.2f}{suffix} on {first.topology}"
                )
    return lines
