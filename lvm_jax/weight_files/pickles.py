"""What a pickle says, without doing what it says.

A pickle is a program for a small machine with a stack, and may name any function for the reader to
call. Here nothing is imported or called: the few names that the caller knows build plain values,
and every other object becomes an `Inert`, with the state that the pickle gives it.
"""

import dataclasses
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

# What pushes its argument.
_CONSTANTS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"}
    | {"BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME"})


@dataclasses.dataclass(frozen=True)
class Name:
    """A class or function that a pickle names."""

    module: str
    name: str


class Inert(dict):
    """Stands for an object whose class is not loaded: its attributes and its items, by name."""

    __hash__ = object.__hash__

    def __init__(self, kind: Any):
        super().__init__()
        self.kind = kind


def load(
    file: BinaryIO,
    builders: Mapping[tuple[str, str], Callable[..., Any]],
    refer: Callable[[Any], Any],
) -> Any:
    """Reads one pickle and leaves the file after it.

    Args:
        file: where the pickle begins.
        builders: (module, name) -> a function of ours that takes what the pickle would call it
            with.
        refer: what stands for a reference to something outside of the pickle.

    Raises:
        ValueError, or what else a program that makes no sense leads to (LookupError, TypeError,
        AttributeError, OverflowError): the pickle is cut short or altered.
    """
    machine = _Machine(builders, refer)
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.step(opcode.name, argument)
    raise ValueError("a pickle without an end")


class _Machine:
    def __init__(self, builders: Mapping[tuple[str, str], Callable], refer: Callable[[Any], Any]):
        self._builders, self._refer = builders, refer
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _CONSTANTS:
            self.stack.append(argument)
        elif opcode in _FIXED:
            self.stack.append(_FIXED[opcode])
        elif opcode in _EMPTY:
            self.stack.append(_EMPTY[opcode]())
        elif opcode in _TUPLES:
            self.stack.append(tuple([self.stack.pop() for _ in range(_TUPLES[opcode])][::-1]))
        elif opcode not in _IGNORED and not (
            self._arrange(opcode, argument) or self._build(opcode, argument)
        ):
            raise ValueError(f"opcode {opcode} in a pickle")

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _arrange(self, opcode: str, argument: Any) -> bool:
        """Marks, the memo and the filling of containers."""
        stack = self.stack
        match opcode:
            case "MARK":
                self._marks.append(len(stack))
            case "POP_MARK":
                self._since_mark()
            case "POP" if self._marks and self._marks[-1] == len(stack):
                self._marks.pop()
            case "POP":
                stack.pop()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "LIST":
                stack.append(self._since_mark())
            case "FROZENSET":
                stack.append(frozenset(self._since_mark()))
            case "DICT":
                stack.append(_paired(self._since_mark()))
            case "APPEND":
                _extend(stack[-2], [stack.pop()])
            case "APPENDS" | "ADDITEMS":
                items = self._since_mark()
                _extend(stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1].update({key: value})
            case "SETITEMS":
                items = self._since_mark()
                stack[-1].update(_paired(items))
            case _:
                return False
        return True

    def _build(self, opcode: str, argument: Any) -> bool:
        """What would import and call."""
        stack = self.stack
        match opcode:
            case "GLOBAL":
                stack.append(Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(Name(module, name))
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(Name("copyreg", f"extension {argument}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._call(function, arguments))
            case "NEWOBJ_EX":
                _, arguments, function = stack.pop(), stack.pop(), stack.pop()
                stack.append(self._call(function, arguments))
            case "OBJ":
                function, *arguments = self._since_mark()
                stack.append(self._call(function, arguments))
            case "INST":
                stack.append(self._call(Name(*argument.split(" ", 1)), self._since_mark()))
            case "BUILD":
                state = stack.pop()
                _set_state(stack[-1], state)
            case "PERSID":
                stack.append(self._refer(argument))
            case "BINPERSID":
                stack.append(self._refer(stack.pop()))
            case _:
                return False
        return True

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name):
            return Inert(function)
        if (function.module, function.name) == ("torch._tensor", "_rebuild_from_type_v2"):
            # A tensor of a subclass: how its plain form would be rebuilt comes first.
            return self._call(arguments[0], arguments[2])
        build = self._builders.get((function.module, function.name))
        return Inert(function) if build is None else build(*arguments)


def _paired(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, set):
        target.update(items)
    elif not isinstance(target, Inert):
        target.extend(items)


def _set_state(target: Any, state: Any) -> None:
    """Attributes, or a pair of attributes and slots; what is no object of a class keeps none."""
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(target, Inert) and isinstance(part, Mapping):
            target.update(part)
