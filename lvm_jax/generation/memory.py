"""Out of memory, in words of what was asked."""

import contextlib
from collections.abc import Iterator

import jax

from lvm_jax.generation.answer_config import AnswerConfig

# Accelerators say the first, CPUs the second.
_SIGNS = ("RESOURCE_EXHAUSTED", "Out of memory allocating")


@contextlib.contextmanager
def explained(config: AnswerConfig) -> Iterator[None]:
    """A block whose lack of memory is said in one line.

    Args:
        config: what was asked, which the line says how to lower.

    Raises:
        RuntimeError: in place of what a device or Python raises for a lack of memory.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _SIGNS):
            raise
        raise RuntimeError(
            f"out of memory with {config.batch_size} answers at a time: lower batch_size"
            + (f", or num_candidates ({config.num_candidates})" * (config.num_candidates > 1))
            + "; what was finished before is kept"
        ) from error
