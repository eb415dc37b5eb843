"""What a compiled step sends over the network: collectives found in its optimised HLO.

Counted per device and step, loops multiplied out. Bytes are those of an operation's results, of a
reduce-scatter's input; what travels on the wire follows from them and the size of a group, see
`roofline`. Three things in such texts are not what they look like:

- TPU: a reduce-scatter is an `all-reduce` inside a fusion named `all-reduce-scatter`.
- TPU: a gather or scatter may be a loop of permutes, `windowed_dot_general_body_ag` or `_rs`.
- TPU: an asynchronous collective is repeated in every fusion that it runs beside, with its channel.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from lvm_jax.planning import hlo, replica_groups

Kind = Literal["all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute"]
Form = Literal["plain", "fusion", "windowed all-gather", "windowed reduce-scatter"]

_PERMUTE: Kind = "collective-permute"
_KINDS: dict[str, Kind] = {
    "all-gather": "all-gather",
    "reduce-scatter": "reduce-scatter",
    "all-reduce": "all-reduce",
    "all-to-all": "all-to-all",
    "ragged-all-to-all": "all-to-all",
    "collective-permute": _PERMUTE,
    "collective-broadcast": "all-gather",
}


@dataclasses.dataclass(frozen=True)
class Collective:
    """An operation that moves data between devices.

    Attributes:
        kind: what it does.
        count: executions per step.
        bytes: per device and step, all executions together.
        axes: mesh axes that its groups run over, in the mesh's order; none of size 1.
        group_size: devices that exchange data with one another; of a permute: the axes' sizes.
        form: "plain", or how the compiler hid it: a TPU's reduce-scatter in a "fusion", or permutes
            of a loop around a product ("windowed all-gather", "windowed reduce-scatter").
        name: of the instruction.
        source: the operation in the program that it comes from, or "".
        members: a group's members as positions in the mesh, flat; the first group's.
    """

    kind: Kind
    count: int
    bytes: int
    axes: tuple[str, ...]
    group_size: int
    form: Form = "plain"
    name: str = ""
    source: str = ""
    members: tuple[int, ...] = ()


def find(
    hlo_text: str,
    mesh_shape: Mapping[str, int],
    num_devices: int,
    device_ids: np.ndarray | None = None,
) -> list[Collective]:
    """Every collective of a compiled step, one for each instruction that is executed.

    Of a conditional the branch that moves more bytes counts. A loop whose length its condition does
    not tell counts as one round.

    Args:
        hlo_text: optimised HLO, `jax.stages.Compiled.as_text()`.
        mesh_shape: names and sizes of the mesh axes, `jax.sharding.Mesh.shape`.
        num_devices: of the program.
        device_ids: the program's number of each device, laid out as the mesh is; None: counted
            along the mesh, as jax numbers the devices of a program that runs on a mesh.

    Returns:
        In the order of the text.

    Raises:
        ValueError: the mesh has another number of devices, or the text is no module.
    """
    if math.prod(mesh_shape.values()) != num_devices:
        raise ValueError(f"mesh {dict(mesh_shape)} does not have {num_devices} devices")
    module = hlo.parse(hlo_text)
    ids = np.arange(num_devices) if device_ids is None else np.asarray(device_ids).ravel()
    groups = replica_groups.Groups(dict(mesh_shape), ids)
    found = _Search(module, groups).run(module.entry, 1, "plain", frozenset())
    return [collective for collective in found if collective.group_size > 1]


class _Search:
    """A walk from the entry through everything that runs."""

    def __init__(self, module: hlo.Module, groups: replica_groups.Groups):
        self._module, self._groups = module, groups

    def run(self, name: str, times: int, form: Form, outside: frozenset[str]) -> list[Collective]:
        """What one computation does, `times` times.

        Args:
            name: of the computation.
            times: executions.
            form: of the permutes in it.
            outside: channels that a computation around it has used: an asynchronous collective
                may run beside a whole loop, whose fusions then repeat it.
        """
        lines = self._module.computations.get(name, {})
        found: list[Collective] = []
        channels = set(outside)
        for line in lines.values():
            kind = _kind(line.opcode)
            if kind:
                channels.add(_channel(line))
                found.append(self._collective(line, lines, kind, times, form))
            elif line.opcode == "while" and line.callees:
                rounds = hlo.trip_count(self._module, name, line)
                inside = times * (1 if rounds is None else rounds)
                body = line.callees[0]
                found += self.run(body, inside, _loop_form(body) or form, frozenset(channels))
            elif line.opcode == "conditional":
                branches = [
                    self.run(branch, times, form, frozenset(channels)) for branch in line.callees
                ]
                found += max(branches, key=total_bytes, default=[])
            elif line.opcode == "call" or line.opcode.endswith("-start"):
                for callee in line.callees:
                    found += self.run(callee, times, form, frozenset(channels))
            elif line.opcode == "fusion":
                found += self._fused(line, times, form, channels)
        return found

    def _fused(
        self, fusion: hlo.Instruction, times: int, form: Form, channels: set[str]
    ) -> Iterator[Collective]:
        """Collectives inside a fusion, those of a channel that was seen before left out."""
        for callee in fusion.callees:
            lines = self._module.computations.get(callee, {})
            scatters = callee.startswith("all-reduce-scatter")
            for line in lines.values():
                kind = _kind(line.opcode)
                if line.opcode == "fusion":
                    yield from self._fused(line, times, form, channels)
                elif kind and _channel(line) not in channels:
                    channels.add(_channel(line))
                    if scatters and kind == "all-reduce":
                        yield self._collective(line, lines, "reduce-scatter", times, "fusion")
                    else:
                        yield self._collective(line, lines, kind, times, form)

    def _collective(
        self,
        line: hlo.Instruction,
        lines: Mapping[str, hlo.Instruction],
        kind: Kind,
        times: int,
        form: Form,
    ) -> Collective:
        axes, group = self._groups.of(line)
        source = re.search(r'op_name="([^"]*)"', line.attributes)
        return Collective(
            kind=kind,
            count=times,
            bytes=times * _bytes(line, lines, kind),
            axes=axes,
            group_size=len(group),
            form="plain" if form.startswith("windowed") and kind != _PERMUTE else form,
            name=line.name,
            source=source[1] if source else "",
            members=group,
        )


def _channel(line: hlo.Instruction) -> str:
    return line.attribute("channel_id") or line.name


def _kind(opcode: str) -> Kind | None:
    return _KINDS.get(opcode.removesuffix("-start"))


def _loop_form(body: str) -> Form | None:
    """What XLA's names of the loops around a windowed product say."""
    if "windowed_dot_general_body_ag" in body:
        return "windowed all-gather"
    return "windowed reduce-scatter" if "windowed_dot_general_body_rs" in body else None


def _bytes(line: hlo.Instruction, lines: Mapping[str, hlo.Instruction], kind: Kind) -> int:
    """Of one execution: the results; of a reduce-scatter the inputs.

    The result of a start is (inputs, results, context...) except that of an all-reduce, which is
    the results; inputs and results may be tuples themselves.
    """
    # A TPU's reduce-scatter is an all-reduce by its opcode: results and inputs are of one size.
    if line.opcode.startswith("reduce-scatter"):
        shapes = [lines[name].shape for name in line.inputs if name in lines]
        if len(shapes) == len(line.inputs):
            return sum(hlo.num_bytes(shape) for shape in shapes)
        return sum(hlo.num_bytes(operand) for operand in line.operands)
    if line.opcode.endswith("-start") and not line.opcode.startswith("all-reduce"):
        return hlo.num_bytes(hlo.elements(line.shape)[1])
    return hlo.num_bytes(line.shape)


def total_bytes(collectives: Sequence[Collective]) -> int:
    """Per device and step."""
    return sum(collective.bytes for collective in collectives)


def summary(collectives: Sequence[Collective]) -> list[Collective]:
    """Those of one kind, form and axes as one, the largest first; without name and source."""
    together: dict[tuple, Collective] = {}
    for one in collectives:
        key = (one.kind, one.form, one.axes, one.group_size)
        before = together.get(key)
        together[key] = dataclasses.replace(
            one,
            count=one.count + (before.count if before else 0),
            bytes=one.bytes + (before.bytes if before else 0),
            name="",
            source="",
        )
    return sorted(together.values(), key=lambda one: -one.bytes)
