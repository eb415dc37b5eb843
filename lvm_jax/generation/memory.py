"""Out of memory, in words of what was asked."""

import contextlib
from collections.abc import Iterator

import jax

from lvm_jax.generation.answer_config import AnswerConfig

# Accelerators say the first, CPUs the second.
_SIGNS = ("RESOURCE_EXHAUSTED", "Out of memory allocating")


def explained(config: AnswerConfig) -> contextlib.AbstractContextManager[None]:
    """A block that answers prompts, whose lack of memory is said in one line; see `explained_rows`.

    Args:
        config: what was asked, which the line says how to lower.
    """
    several = config.num_candidates > 1
    more = f", or num_candidates ({config.num_candidates})" if several else ""
    return explained_rows(f"{config.batch_size} answers", f"batch_size{more}")


@contextlib.contextmanager
def explained_rows(rows: str, remedy: str) -> Iterator[None]:
    """A block whose lack of memory is said in one line.

    Args:
        rows: what is computed at a time, such as "4 rows".
        remedy: what can be lowered.

    Raises:
        RuntimeError: in place of what a device or Python raises for a lack of memory.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _SIGNS):
            raise
        raise RuntimeError(
            f"out of memory with {rows} at a time: lower {remedy}; what was finished before is kept"
        ) from error
