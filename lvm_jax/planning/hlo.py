"""The text of an optimised HLO module, read as far as counting needs it.

A module is a list of computations; each is a list of instructions, one a line:

    %name (parameters) -> result {
      %all-gather.7 = bf16[512,64]{1,0:T(8,128)} all-gather(%x, %y), replica_groups=..., ...

The grammar is that of XLA's `HloModule::ToString`, which is not a stable format: what is not
understood here is skipped, and tests hold stored texts of every backend.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

# A computation ends where the next one begins: the text of a kernel may have lines of "}" as well.
_HEADER = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s+\(.*\)\s*->.*\{\s*$")
_NAME = re.compile(r"^\s+(ROOT\s+)?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"\b(pred|token|[a-z]+\d+(?:e\d+m\d+\w*)?)\[([\d,<=]*)\]")
_REFERENCE = re.compile(r"%?([\w.\-]+)$")
_CALLEES = re.compile(
    r"\b(?:calls|body|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
    r"|\b(?:branch_computations|called_computations)=\{([^}]*)\}"
)
_INTEGER = re.compile(r"^-?\d+$")
_KNOWN_TRIPS = re.compile(r'"known_trip_count":\{"n":"?(\d+)"?')


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: unique in the module, without "%".
        shape: of the result, as it is written: "f32[8,2]{1,0}" or "(f32[8], (s32[], f32[2]))".
        opcode: "all-gather-start", "fusion", "while", ...
        operands: what is between its parentheses, cut at the commas.
        attributes: the rest of the line.
        is_root: it is the computation's result.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @functools.cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the instructions it reads; they may be written with their shapes."""
        found = (_REFERENCE.search(operand) for operand in self.operands)
        return tuple(match[1] for match in found if match)

    @functools.cached_property
    def callees(self) -> tuple[str, ...]:
        """Names of the computations it runs; a loop's condition is not among them."""
        names = []
        for one, several in _CALLEES.findall(self.attributes):
            names += [one] if one else [name.strip().lstrip("%") for name in several.split(",")]
        return tuple(names)

    def attribute(self, name: str) -> str | None:
        """The value of `name=`: up to the next comma, or up to the bracket that closes it."""
        match = re.search(rf"\b{name}=", self.attributes)
        return None if match is None else _until_comma(self.attributes, match.end())


@dataclasses.dataclass(frozen=True)
class Module:
    """Computations by name; `entry` is the one that runs."""

    computations: dict[str, dict[str, Instruction]]
    entry: str


def parse(text: str) -> Module:
    """The module of a text, such as `jax.stages.Compiled.as_text` gives.

    Raises:
        ValueError: the text has no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = None, None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif current is not None:
            instruction = _instruction(line)
            if instruction:
                current[instruction.name] = instruction
    if entry is None:
        raise ValueError("the text is no HLO module: no line begins with ENTRY; give as_text()")
    return Module(computations, entry)


def _instruction(line: str) -> Instruction | None:
    name = _NAME.match(line)
    if not name:
        return None
    start = name.end()
    end = _close(line, start) if line[start : start + 1] == "(" else line.find(" ", start)
    opcode = _OPCODE.match(line, end) if end > 0 else None
    if not opcode:
        return None
    close = _close(line, opcode.end() - 1)
    operands = tuple(_split(line[opcode.end() : close - 1]))
    return Instruction(
        name[2], line[start:end], opcode[1], operands, line[close:], name[1] is not None
    )


def _close(text: str, start: int) -> int:
    """Just after the bracket that closes the one at `start`; the end of the text if none does."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0:
            return position + 1
    return len(text)


def _until_comma(text: str, start: int) -> str:
    depth = 0
    for position in range(start, len(text)):
        if depth == 0 and text[position] == ",":
            return text[start:position]
        depth += (text[position] in "([{") - (text[position] in ")]}")
    return text[start:]


def _split(text: str) -> list[str]:
    """Cut at the commas that no bracket encloses, without comments and spaces."""
    text, parts, start = re.sub(r"/\*.*?\*/", "", text), [], 0
    while start < len(text):
        part = _until_comma(text, start)
        parts.append(part.strip())
        start += len(part) + 1
    return [part for part in parts if part]


def elements(shape: str) -> list[str]:
    """The parts of a tuple's shape; an array's shape is its only part."""
    return _split(shape[1:-1]) if shape.startswith("(") else [shape]


def num_bytes(shape: str) -> int:
    """Bytes of an array, or of all arrays of a tuple, as XLA counts them: without padding.

    A dynamic size ("<=8") counts as its bound; sub-byte types count whole bytes of the array.
    """
    total = 0
    for dtype, sizes in _ARRAY.findall(shape):
        if dtype != "token":
            count = math.prod(int(size.lstrip("<=")) for size in sizes.split(",") if size)
            total += -(-count * _bits(dtype) // 8)
    return total


def _bits(dtype: str) -> int:
    match = re.match(r"[a-z]+(\d+)", dtype)
    return int(match[1]) if match else 8


def trip_count(module: Module, computation: str, loop: Instruction) -> int | None:
    """How often a while loop's body runs; None when its condition does not say.

    The compiler's own `known_trip_count` where it is written. Else from the counter: its bound is
    the constant of the condition, its start the constant in the loop's operand, its step what the
    body adds to it, 1 where that is not found.

    Args:
        module: with the loop.
        computation: that the loop stands in.
        loop: its instruction.
    """
    known = _KNOWN_TRIPS.search(loop.attributes)
    if known:
        return int(known[1])
    condition = re.search(r"\bcondition=%?([\w.\-]+)", loop.attributes)
    lines = list(_inner(module, condition[1])) if condition else []
    bounds = [number for line in lines if (number := _constant(line)) is not None]
    if not bounds:
        return None
    inclusive = any(line.attribute("direction") == "LE" for line in lines)
    indices = {line.attribute("index") for line in lines if line.opcode == "get-tuple-element"}
    index = indices.pop() if len(indices) == 1 else None
    start, step = 0, 1
    if index is not None:
        start = _start(module.computations[computation], loop, int(index))
        step = _step(module, module.computations.get(loop.callees[0], {}), int(index))
    return max(-(-(max(bounds) + inclusive - start) // step), 0)


def _inner(module: Module, computation: str) -> Iterator[Instruction]:
    for line in module.computations.get(computation, {}).values():
        yield line
        for callee in line.callees:
            yield from _inner(module, callee)


def _constant(line: Instruction | None) -> int | None:
    if line is None or line.opcode != "constant" or not line.operands:
        return None
    return int(line.operands[0]) if _INTEGER.match(line.operands[0]) else None


def _start(lines: dict[str, Instruction], loop: Instruction, index: int) -> int:
    """What a loop's counter starts from; 0 where that is no constant."""
    first = _source(lines, loop.inputs[0]) if loop.inputs else None
    if first is None or first.opcode != "tuple":
        return 0
    return _constant(_source(lines, first.inputs[index])) or 0


def _step(module: Module, body: dict[str, Instruction], index: int) -> int:
    """What a loop's body adds to its counter; 1 where that is no constant."""
    root = next((line for line in body.values() if line.is_root), None)
    if root is None or root.opcode != "tuple":
        return 1
    last = _source(body, root.inputs[index])
    # The sum may stand in a fusion, its constant in there or among the operands.
    found = [] if last is None else [last, *_inner_of(module, last)]
    if not any(line.opcode == "add" for line in found):
        return 1
    sources = [_source(body, name) for line in found for name in line.inputs]
    steps = {number for line in (*sources, *found) if (number := _constant(line)) is not None}
    return steps.pop() if len(steps) == 1 and min(steps) > 0 else 1


def _inner_of(module: Module, line: Instruction) -> list[Instruction]:
    return [inner for callee in line.callees for inner in _inner(module, callee)]


def _source(lines: dict[str, Instruction], name: str) -> Instruction | None:
    """The instruction that made a value, through copies."""
    line = lines.get(name)
    while line is not None and line.opcode in ("copy", "bitcast") and line.inputs:
        line = lines.get(line.inputs[0])
    return line
