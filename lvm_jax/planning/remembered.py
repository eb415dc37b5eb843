"""What compilers made of steps, kept in a file of JSON lines: no step is compiled twice.

A step is known by the text that is handed to the compiler, so whatever changes the step, changes
its key. Lines are only added; one that a killed process left half is passed over. A file that
cannot be read or written costs time, never a plan.
"""

import hashlib
import json
import os
import pathlib
from typing import Any

import jax
from absl import logging

from lvm_jax import configs
from lvm_jax.planning import compiling
from lvm_jax.planning.compiling import Compiled, Step
from lvm_jax.planning.topologies import Topology


def compile_step(
    step: Step, topology: Topology, compiler: str, path: pathlib.Path | None
) -> Compiled:
    """Compiles a step, or remembers what came of it.

    Args:
        step: for devices of `topology`.
        topology, compiler: which are part of the key.
        path: the file; None remembers nothing.
    """
    lowered = step.traced.lower()
    key = key_of(lowered.as_text(), topology, compiler)
    known = None if path is None else _read(path).get(key)
    if known is not None:
        logging.info("compiled before, remembered from %s", path)
        return known
    compiled = compiling.compile_step(step, lowered)
    if path is not None:
        _add(path, {"key": key, **configs.to_dict(compiled)})
    return compiled


def _add(path: pathlib.Path, values: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write, so that lines of several processes do not mix; a line end in front, so that
        # what a killed process left half does not swallow the line.
        with open(path, "ab", buffering=0) as file:
            file.write(f"\n{json.dumps(values)}\n".encode())
    except OSError as error:
        logging.warning("%s: %s; what was compiled is not remembered", path, error.strerror)


def key_of(program: str, topology: Topology, compiler: str) -> str:
    """What a step is known by: all that a compiler is told."""
    flags = os.environ.get("XLA_FLAGS", "") + os.environ.get("LIBTPU_INIT_ARGS", "")
    wires = topology.describe()
    text = "\n".join((wires, compiler, jax.__version__, flags, program))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: pathlib.Path) -> dict[str, Compiled]:
    found: dict[str, Compiled] = {}
    try:
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        logging.warning("%s: %s; nothing is remembered", path, error.strerror)
        return found
    passed_over = 0
    for line in filter(None, lines):
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("no object")
            key = str(values.pop("key"))
            found[key] = configs.build_stored(Compiled, values, str(path))
        except (ValueError, KeyError):
            passed_over += 1
    if passed_over:
        logging.warning(
            "%s: %d lines are not whole or of another version; passed over", path, passed_over
        )
    return found
