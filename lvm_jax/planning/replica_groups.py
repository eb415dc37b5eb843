"""Which devices exchange data, from HLO's replica groups, and along which mesh axes.

The syntaxes, all of XLA's `replica_group.cc` and `collective_device_list`:

    {{0,1},{2,3}}                     lists
    [4,2]<=[2,4]T(1,0)                4 groups of 2: iota [2,4], transposed, laid out as [4,2]
    mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}    groups along the named axes of a mesh
                                      whose devices are an iota, transposed; or counted, without it;
                                      'a':(2)2 is part of an axis: 2 blocks, then 2 members
    source_target_pairs={{0,1},{1,2}} of permutes
"""

import math
import re

import numpy as np

from lvm_jax.planning import hlo

_NUMBERS = re.compile(r"\d+")
_IOTA = re.compile(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"mesh\[([^\]]*)\]")
_MESH_AXIS = re.compile(r"'([^']+)'=(\d+)")
_MESH_IDS = re.compile(r"device_ids=\((.*?)\)\s*\{")
_MESH_USED = re.compile(r"\{((?:'[^']+'(?::\(\d+\)\d+)?,?\s*)*)\}")
_USED_AXIS = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")


class Groups:
    """Replica groups of a program on a mesh.

    Args:
        mesh_shape: names and sizes of the mesh axes.
        device_ids: the program's number of each device, flat in the mesh's order.
    """

    def __init__(self, mesh_shape: dict[str, int], device_ids: np.ndarray):
        self._axes, self._sizes = tuple(mesh_shape), tuple(mesh_shape.values())
        self._positions = np.argsort(device_ids)
        self._known: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}

    def of(self, line: hlo.Instruction) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """(mesh axes along which a collective's groups run, positions of one group in the mesh).

        Of a permute the group is everything that its axes reach from the first device.
        """
        match = re.search(r"\b(replica_groups|source_target_pairs)=", line.attributes)
        key = _spelled(line.attributes[match.start() :]) if match else ""
        if key not in self._known:
            self._known[key] = self._read(key)
        return self._known[key]

    def _read(self, key: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        groups = parse(key.partition("=")[2], len(self._positions))
        positions = [self._positions[np.asarray(group)] for group in groups if len(group)]
        places = [np.unravel_index(group, self._sizes) for group in positions]
        moves = [
            any(len(np.unique(place[axis])) > 1 for place in places)
            for axis in range(len(self._sizes))
        ]
        axes = tuple(name for name, moved in zip(self._axes, moves) if moved)
        if not key.startswith("source_target_pairs"):
            return axes, tuple(int(position) for position in positions[0])
        along = tuple(slice(None) if moved else 0 for moved in moves)
        grid = np.arange(len(self._positions)).reshape(self._sizes)
        return axes, tuple(int(position) for position in grid[along].ravel())


def _spelled(text: str) -> str:
    """The attribute at the start of a text, up to what follows it."""
    stop = re.search(r",\s*[a-z_]+=(?!\()", text)
    return text[: stop.start()].strip() if stop else text.strip()


def parse(text: str, num_devices: int) -> list[list[int]]:
    """Groups of the program's device numbers; pairs of a permute are groups of two.

    Args:
        text: what is after the `=`.
        num_devices: of the program; `{}` means all of them.
    """
    mesh = _MESH.match(text)
    if mesh:
        return _of_mesh(mesh[1], text[mesh.end() :])
    iota = _IOTA.match(text)
    if iota:
        return _iota(iota[2], iota[3]).reshape(_integers(iota[1])).tolist()
    lists = re.findall(r"\{([\d,\s]+)\}", text)
    return [_integers(group) for group in lists] or [list(range(num_devices))]


def _integers(text: str) -> list[int]:
    return [int(number) for number in _NUMBERS.findall(text)]


def _iota(sizes: str, order: str | None) -> np.ndarray:
    numbers = np.arange(math.prod(_integers(sizes))).reshape(_integers(sizes))
    return (numbers.transpose(_integers(order)) if order else numbers).ravel()


def _of_mesh(axes: str, rest: str) -> list[list[int]]:
    names, sizes = zip(*((name, int(size)) for name, size in _MESH_AXIS.findall(axes)))
    ids = _MESH_IDS.search(rest)
    numbers = np.arange(math.prod(sizes)) if ids is None else _mesh_ids(ids[1])
    used = _MESH_USED.search(rest)
    parts = (
        {name: (before, size) for name, before, size in _USED_AXIS.findall(used[1])} if used else {}
    )
    # Every axis as (before, taken, after), of which a group takes the middle.
    shape, taken = [], []
    for name, size in zip(names, sizes):
        before, middle = 1, size if name in parts else 1
        if name in parts and parts[name][1]:
            before, middle = int(parts[name][0]), int(parts[name][1])
        taken.append(len(shape) + 1)
        shape += [before, middle, size // (before * middle)]
    grid = np.moveaxis(numbers.reshape(shape), taken, range(-len(taken), 0))
    return grid.reshape(-1, math.prod(shape[axis] for axis in taken)).tolist()


def _mesh_ids(text: str) -> np.ndarray:
    match = re.match(r"\[([\d,]+)\](?:<=\[([\d,]+)\])?(?:T\(([\d,]+)\))?", text)
    if match:
        return _iota(match[2] or match[1], match[3])
    return np.asarray(_integers(text))
